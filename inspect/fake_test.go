package inspect

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// fakeNode is a node that is what a test wants it to be.
type fakeNode struct {
	name             string
	started          time.Time
	frozen, draining bool
	counts           metafora.Counts
	tasks            []metafora.RunningTask
	ignores          []metafora.Deferred
	listed           int // calls of Tasks
}

func (n *fakeNode) Name() string            { return n.name }
func (n *fakeNode) Started() time.Time      { return n.started }
func (n *fakeNode) Frozen() bool            { return n.frozen }
func (n *fakeNode) Draining() bool          { return n.draining }
func (n *fakeNode) Counts() metafora.Counts { return n.counts }

func (n *fakeNode) Tasks() []metafora.RunningTask {
	n.listed++
	return n.tasks
}

func (n *fakeNode) Task(id string) (metafora.RunningTask, bool) {
	i := slices.IndexFunc(n.tasks, func(r metafora.RunningTask) bool { return r.ID() == id })
	if i < 0 {
		return metafora.RunningTask{}, false
	}
	return n.tasks[i], true
}
func (n *fakeNode) Ignores() []metafora.Deferred { return n.ignores }

// fakeMachine is a handler with a state, which counts who looks at it.
type fakeMachine struct {
	state  statemachine.State
	looked *atomic.Int64
}

func (fakeMachine) Run(context.Context) bool { return true }
func (fakeMachine) Stop()                    {}

func (m fakeMachine) State() (statemachine.State, bool) {
	if m.looked != nil {
		m.looked.Add(1)
	}
	return m.state.Copy(), m.state.Code != ""
}

// plainHandler has no state.
type plainHandler struct{}

func (plainHandler) Run(context.Context) bool { return true }
func (plainHandler) Stop()                    {}

func running(id string, h metafora.Handler) metafora.RunningTask {
	return metafora.RunningTask{
		Task:    metafora.NewTask(id),
		Claim:   metafora.Claim{TaskID: id, Node: "node-1", Fence: 7},
		Started: time.Now(),
		Handler: h,
	}
}

// manyTasks are stateful tasks with IDs in order.
func manyTasks(n int, looked *atomic.Int64) []metafora.RunningTask {
	tasks := make([]metafora.RunningTask, n)
	for i := range tasks {
		state := statemachine.State{Code: statemachine.Runnable, Since: time.Now()}
		tasks[i] = running(fmt.Sprintf("task-%06d", i), fakeMachine{state: state, looked: looked})
	}
	return tasks
}

// get returns the handler's answer to a GET.
func get(t *testing.T, n node, target string) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	newHandler(n).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
	return rec
}
