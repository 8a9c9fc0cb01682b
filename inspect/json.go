package inspect

import (
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

const contentJSON = "application/json"

// Node is a node at one moment. All times are in UTC, by the node's clock.
type Node struct {
	Name string `json:"name"`
	// Time is when the node answered.
	Time time.Time `json:"time"`
	// Started is when the Consumer's Run was called, zero if it was not.
	Started time.Time `json:"started,omitzero"`
	// Frozen nodes claim and balance nothing, Draining ones give up what they
	// have as well; see [metafora.Consumer].
	Frozen   bool `json:"frozen"`
	Draining bool `json:"draining"`
	// Running, Settling, Claiming and Deferred count tasks, see [metafora.Counts].
	Running  int `json:"running"`
	Settling int `json:"settling"`
	Claiming int `json:"claiming"`
	Deferred int `json:"deferred"`
}

// Task is a task with a handler that has not returned.
type Task struct {
	ID string `json:"id"`
	// Fence is the claim's fencing token. It can be larger than the integers
	// that JavaScript keeps exact.
	Fence   uint64    `json:"fence"`
	Started time.Time `json:"started"`
	// Stopped is when the handler was first asked to stop.
	Stopped time.Time `json:"stopped,omitzero"`
	// Lost is when the claim was lost.
	Lost time.Time `json:"lost,omitzero"`

	// State, Since and Until are those of a stateful task whose state has been
	// loaded; see [statemachine.State].
	State statemachine.StateCode `json:"state,omitempty"`
	Since time.Time              `json:"since,omitzero"`
	Until time.Time              `json:"until,omitzero"`
	// Error is the stateful task's latest error, which it may have got over.
	Error string `json:"error,omitempty"`
	// Errors are its latest errors, oldest first. They are given only when the
	// task is asked for by ID.
	Errors []statemachine.TaskError `json:"errors,omitempty"`
}

// DeferredTask is a task that the node will consider later.
type DeferredTask struct {
	ID string `json:"id"`
	// Until is when it is due.
	Until  time.Time            `json:"until"`
	Reason metafora.DeferReason `json:"reason"`
}

// Tasks is the answer to a request for the running tasks.
type Tasks struct {
	Node  string `json:"node"`
	Tasks []Task `json:"tasks"`
	Rest
}

// DeferredTasks is the answer to a request for the deferred tasks.
type DeferredTasks struct {
	Node     string         `json:"node"`
	Deferred []DeferredTask `json:"deferred"`
	Rest
}

// Rest tells what a list leaves out.
type Rest struct {
	// Total is how many tasks the filters select, on this page or not.
	Total int `json:"total"`
	// Next is what to ask for as "after" to get the next page, empty on the last.
	Next string `json:"next,omitempty"`
}

// Error is the answer to a request that cannot be served.
type Error struct {
	Error string `json:"error"`
}

func nodeOf(n node) Node {
	counts := n.Counts()
	return Node{
		Name:     n.Name(),
		Time:     utc(time.Now()),
		Started:  utc(n.Started()),
		Frozen:   n.Frozen(),
		Draining: n.Draining(),
		Running:  counts.Running,
		Settling: counts.Settling,
		Claiming: counts.Claiming,
		Deferred: counts.Deferred,
	}
}

// stateful is what handlers with a state have, [statemachine.Machine] among them.
type stateful interface {
	State() (statemachine.State, bool)
}

func taskOf(r metafora.RunningTask, allErrors bool) Task {
	t := Task{
		ID:      r.ID(),
		Fence:   r.Claim.Fence,
		Started: utc(r.Started),
		Stopped: utc(r.Stopped),
		Lost:    utc(r.Lost),
	}
	h, ok := r.Handler.(stateful)
	if !ok {
		return t
	}
	s, ok := h.State()
	if !ok {
		return t
	}
	t.State, t.Since, t.Until = s.Code, utc(s.Since), utc(s.Until)
	if n := len(s.Errors); n > 0 {
		t.Error = s.Errors[n-1].Error
	}
	if allErrors {
		t.Errors = s.Errors
	}
	return t
}

func deferredOf(d metafora.Deferred) DeferredTask {
	return DeferredTask{ID: d.ID, Until: utc(d.Until), Reason: d.Reason}
}

// utc returns t as JSON can tell it, up to the year 9999: a Balancer may put a
// task off for ever.
func utc(t time.Time) time.Time {
	if end := time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC); t.After(end) {
		return end
	}
	return t.UTC()
}
