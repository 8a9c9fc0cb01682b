package metafora_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
)

// exclusive is a handler function that knows which handlers of each task run
// under a context that has not ended, and sees to it that fences grow.
type exclusive struct {
	t    *testing.T
	mu   sync.Mutex // guards all below
	live map[string]map[metafora.Claim]context.Context
	last map[string]metafora.Claim
}

func newExclusive(t *testing.T) *exclusive {
	return &exclusive{
		t: t, live: make(map[string]map[metafora.Claim]context.Context), last: make(map[string]metafora.Claim),
	}
}

func (e *exclusive) handler(task metafora.Task) metafora.Handler {
	return metafora.SimpleHandler(func(ctx context.Context, task metafora.Task, stop <-chan struct{}) bool {
		claim := e.begin(ctx)
		defer e.end(claim)
		select {
		case <-stop:
		case <-ctx.Done():
		}
		return false
	})(task)
}

func (e *exclusive) begin(ctx context.Context) metafora.Claim {
	claim, _ := metafora.ClaimFromContext(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	if last := e.last[claim.TaskID]; ctx.Err() == nil && claim.Fence <= last.Fence {
		e.t.Errorf("the claim %v comes after %v", claim, last)
	}
	e.last[claim.TaskID] = claim
	if e.live[claim.TaskID] == nil {
		e.live[claim.TaskID] = make(map[metafora.Claim]context.Context)
	}
	e.live[claim.TaskID][claim] = ctx
	return claim
}

func (e *exclusive) end(claim metafora.Claim) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.live[claim.TaskID], claim)
}

// running returns the nodes on which a task runs.
func (e *exclusive) running(id string) (nodes []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for claim, ctx := range e.live[id] {
		if ctx.Err() == nil {
			nodes = append(nodes, claim.Node)
		}
	}
	return nodes
}

func TestLostLeaseIsFollowedByANewOne(t *testing.T) {
	inBubble(t, func(w *world) {
		e := newExclusive(w.T)
		w.submit(3)
		a := w.start("a", e.handler)
		w.want(a, 3)
		before := a.Tasks()
		w.broker.ExpireLease("a")
		time.Sleep(time.Second)
		w.want(a, 3)
		for i, r := range a.Tasks() {
			if r.Claim.Fence <= before[i].Claim.Fence || !r.Lost.IsZero() {
				w.Errorf("task %+v after %+v", r, before[i])
			}
		}
		w.stop(a)
	})
}

// A process that was stopped past its TTL ends its handlers before anything else,
// and comes back.
func TestPausedNodeGivesUpWhatItHadAndComesBack(t *testing.T) {
	inBubble(t, func(w *world) {
		w.submit(2)
		causes := make(chan error, 2)
		a := w.start("a", metafora.SimpleHandler(func(ctx context.Context, _ metafora.Task, stop <-chan struct{}) bool {
			select {
			case <-stop:
				causes <- context.Cause(ctx)
			case <-ctx.Done():
				causes <- context.Cause(ctx)
			}
			return false
		}))
		w.want(a, 2)
		b := w.start("b", metafora.SimpleHandler(waitForStop))
		w.broker.Pause("a")
		time.Sleep(time.Hour)
		w.want(b, 2)
		w.broker.Heal("a")
		for range 2 {
			if cause := <-causes; cause != nil && !errors.Is(cause, metafora.ErrLeaseLost) {
				w.Errorf("cause %v, want %v", cause, metafora.ErrLeaseLost)
			}
		}
		w.want(a, 0)
		w.stop(b)
		time.Sleep(time.Second)
		w.want(a, 2)
		w.stop(a)
	})
}

// A task that is deleted and submitted anew while it runs is another task: the
// old handler is told, and the new one gets the new properties.
func TestTaskSubmittedAnewWhileItRunsIsAnotherTask(t *testing.T) {
	inBubble(t, func(w *world) {
		e := newExclusive(w.T)
		w.submit(1)
		a := w.start("a", e.handler, metafora.WithReclaimDelay(0))
		w.want(a, 1)
		old := a.Tasks()[0].Claim
		if err := w.client.DeleteTask(w.Context(), "t0"); err != nil {
			w.Fatal(err)
		}
		w.submit(1)
		w.want(a, 1)
		if claim := a.Tasks()[0].Claim; claim.Fence <= old.Fence {
			w.Errorf("the claim %v after %v", claim, old)
		}
		if err := w.client.DeleteTask(w.Context(), "t0"); err != nil {
			w.Fatal(err)
		}
		w.want(a, 0)
		w.stop(a)
	})
}

func TestNodeWhoseNameIsTakenDisturbsNothing(t *testing.T) {
	inBubble(t, func(w *world) {
		w.submit(2)
		first := w.start("a", metafora.SimpleHandler(waitForStop))
		w.want(first, 2)
		second := w.start("a", metafora.SimpleHandler(waitForStop))
		if err := <-w.ended[second]; !errors.Is(err, metafora.ErrNodeExists) {
			w.Errorf("error %v, want %v", err, metafora.ErrNodeExists)
		}
		time.Sleep(time.Minute)
		w.want(first, 2)
		w.stop(first)
		third := w.start("a", metafora.SimpleHandler(waitForStop))
		w.want(third, 2)
		w.stop(third)
	})
}

// Nodes and broker go through all sorts of trouble. No task ever has two live
// handlers, and once the trouble ends each runs on one node.
func TestTroubledClusterRunsEachTaskOnce(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(w *world) { newTrouble(w, seed).run(150) })
		})
	}
}

// trouble is a cluster to which bad things happen at random.
type trouble struct {
	*world
	*exclusive
	rand  *rand.Rand
	nodes map[string]*metafora.Consumer // nil for those that are down
	names []string
	tasks map[string]bool // those that are there
	cut   map[string]bool // the nodes that are cut off, and cannot know what is done to their claims
}

func newTrouble(w *world, seed uint64) *trouble {
	tr := &trouble{
		world: w, exclusive: newExclusive(w.T), rand: rand.New(rand.NewPCG(seed, 0)),
		nodes: make(map[string]*metafora.Consumer), names: []string{"a", "b", "c"}, tasks: make(map[string]bool),
		cut: make(map[string]bool),
	}
	for _, name := range tr.names {
		tr.up(name)
	}
	return tr
}

func (tr *trouble) up(name string) {
	tr.nodes[name] = tr.start(name, tr.handler, metafora.WithBalanceInterval(5*time.Second), metafora.WithSeed(tr.rand.Uint64()))
}

func (tr *trouble) run(steps int) {
	for range steps {
		tr.step()
		for range tr.rand.IntN(30) {
			tr.lookAround()
			time.Sleep(100 * time.Millisecond)
		}
	}
	for _, name := range tr.names {
		tr.broker.Heal(name)
	}
	time.Sleep(time.Minute)
	tr.lookAround()
	for _, name := range tr.names {
		if tr.nodes[name] == nil {
			tr.up(name)
		}
		synctest.Wait()
		_ = tr.client.SubmitCommand(tr.Context(), name, metafora.Unfreeze())
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	for id := range tr.tasks {
		info, err := tr.client.Task(tr.Context(), id)
		if on := tr.running(id); err != nil || len(on) != 1 || info.Owner != on[0] {
			tr.Errorf("task %q runs on %q and belongs to %q (error %v)", id, on, info.Owner, err)
		}
	}
	for _, name := range tr.names {
		if err := tr.down(name); err != nil {
			tr.Errorf("node %q: %v", name, err)
		}
	}
}

// lookAround lets happen what is due now, and looks for tasks that run twice. A
// task whose owner was ended from outside may begin elsewhere before its handler
// hears of it, but not for any time.
func (tr *trouble) lookAround() {
	tr.Helper()
	synctest.Wait()
	for i := range taskCount {
		id := fmt.Sprint("task-", i)
		if on := tr.running(id); len(on) > 1 {
			tr.Errorf("task %q runs on %q", id, on)
		}
	}
	for _, name := range tr.names {
		if node := tr.nodes[name]; node != nil && len(tr.ended[node]) > 0 {
			err := <-tr.ended[node]
			if !errors.Is(err, metafora.ErrNodeExists) && !errors.Is(err, memory.ErrUnreachable) {
				tr.Errorf("node %q: %v", name, err)
			}
			tr.nodes[name] = nil
		}
	}
}

const taskCount = 8

func (tr *trouble) down(name string) error {
	node := tr.nodes[name]
	tr.nodes[name] = nil
	node.Shutdown()
	return <-tr.ended[node]
}

func (tr *trouble) step() {
	name, id := tr.names[tr.rand.IntN(len(tr.names))], fmt.Sprint("task-", tr.rand.IntN(taskCount))
	ctx := tr.Context()
	switch tr.rand.IntN(14) {
	case 0, 1, 2:
		if err := tr.client.SubmitTask(ctx, metafora.NewTask(id)); err != nil && !errors.Is(err, metafora.ErrTaskExists) {
			tr.Error(err)
		}
		tr.tasks[id] = true
	case 3:
		if len(tr.cut) > 0 {
			return
		}
		if err := tr.client.DeleteTask(ctx, id); err != nil && !errors.Is(err, metafora.ErrNoTask) {
			tr.Error(err)
		}
		delete(tr.tasks, id)
	case 4, 5:
		tr.broker.Partition(name)
		tr.cut[name] = true
	case 6, 7:
		tr.broker.Heal(name)
		delete(tr.cut, name)
	case 8:
		if len(tr.cut) == 0 {
			tr.broker.ExpireLease(name)
		}
	case 9:
		if len(tr.cut) == 0 {
			tr.broker.DeleteOwner(id)
		}
	case 10:
		tr.broker.Compact()
	case 11:
		commands := []metafora.Command{
			metafora.Freeze(), metafora.Unfreeze(), metafora.Unfreeze(), metafora.Drain(), metafora.Balance(), metafora.StopTask(id),
		}
		_ = tr.client.SubmitCommand(ctx, name, commands[tr.rand.IntN(len(commands))])
	case 12:
		if tr.nodes[name] != nil {
			_ = tr.down(name)
		}
	case 13:
		if tr.nodes[name] == nil {
			tr.up(name) // or not, if its name is not free yet
		}
	}
}
