package metafora

import (
	"context"
	"time"
)

// Coordinator connects one node to the broker. Package backend/backendtest
// checks each sentence below.
//
// A Consumer calls Init once, then Watch and Command from one goroutine each,
// and all other methods concurrently. Every method that takes a context returns
// soon after it ended, and after Close was called, with an error wrapping
// ErrClosed in the latter case. A write whose reply was lost is read back and
// settled before a method returns; where its context ends first, the backend
// settles it in the background, so that no claim is leaked. Errors are wrapped
// and name the task or node.
type Coordinator interface {
	// Init joins the cluster. It fails with ErrNodeExists while a live node
	// has this name, and with ErrInvalidID when no node can; after a failure
	// the Coordinator can only be closed.
	Init(ctx context.Context, cc CoordinatorContext) error

	// Watch announces claimable tasks: each task that exists and has no owner
	// at least once, in the order in which they became claimable as far as the
	// backend knows it, again whenever it loses its owner, and again when it is
	// submitted anew. It blocks until ctx ends and returns nil then, or
	// ErrClosed after Close, or the error for which it cannot go on. A send on
	// tasks may block for long; Watch must keep up with the broker meanwhile.
	// A task that the TaskFunc refuses is logged and skipped. When the broker
	// has dropped history that Watch needed, it lists again and carries on.
	Watch(ctx context.Context, tasks chan<- Task) error

	// Claim tries to make this node the owner of a task that Watch announced.
	// ErrClaimed: the task has an owner, this node included. ErrNoTask: it is
	// gone, or was submitted anew since t was announced. ErrLeaseLost: the
	// node has no lease at the moment. ErrClosed; any other error is the
	// broker's, the node does not own the task, and trying later may help.
	// Claim may refuse from local knowledge, without asking the broker.
	Claim(ctx context.Context, t Task) (Claim, error)

	// Claimable tells from local knowledge, at no broker cost, whether the
	// task of this ID exists and has no owner.
	Claimable(id string) bool

	// Release gives a claim up, so that the task is announced to all nodes.
	// Releasing again changes nothing. ErrNotOwner: c is not current; nothing
	// was touched.
	Release(ctx context.Context, c Claim) error

	// Done removes the task of a claim for good, its pending command too.
	// Repeating it changes nothing. ErrNotOwner: c is not current; nothing was
	// touched.
	Done(ctx context.Context, c Claim) error

	// Command returns the next command for this node, in the order in which
	// they were submitted; each is returned once. One that is malformed is
	// removed from the broker and returned as an error wrapping
	// ErrInvalidCommand; Command can then be called again.
	Command(ctx context.Context) (Command, error)

	// SetAccepting tells the other nodes whether this one takes new tasks; it
	// does from Init on.
	SetAccepting(ctx context.Context, accepting bool) error

	// Close leaves the cluster. It releases no task: claims that are still held
	// end with the lease, and are not reported lost. It is idempotent, may be
	// called at any time, concurrently too, and returns when all goroutines of
	// the Coordinator have ended.
	Close() error

	// Name returns the node's name, which never changes.
	Name() string
}

// CoordinatorContext is how a Coordinator talks back. Its methods never block
// and are safe for concurrent use. A Coordinator calls none of them before Init
// was called, or after Close returned.
type CoordinatorContext interface {
	// Lost says that a claim this node held is no longer current, or will not
	// stay so: its lease could not be renewed in time, or the broker says
	// that the owner changed or the task was deleted. It is called once for a
	// claim that ends otherwise than by Release or Done, and before the broker
	// can give the task to another node whenever the node was able to run.
	// cause wraps ErrLeaseLost or ErrNotOwner.
	Lost(c Claim, cause error)

	// ClusterChanged says that nodes joined, left, or changed.
	ClusterChanged()
}

// ClusterState is a node's view of its cluster. The Coordinators of this module
// implement it from what their watch already told them, at no broker cost. All
// methods are safe for concurrent use.
type ClusterState interface {
	// Nodes returns the live nodes, this one included, sorted by name. The
	// slice is shared and must not be modified.
	Nodes() []Node
	// NodeTaskCount returns how many tasks a node owns, 0 for an unknown one.
	NodeTaskCount(node string) int
}

// RunningTask is a task that a Consumer has claimed.
type RunningTask struct {
	Task    Task
	Claim   Claim
	Started time.Time
	// Stopped is when the handler was first asked to stop, zero if it was not.
	Stopped time.Time
	// Lost is when the claim was lost, zero while it is held. The handler has
	// not returned yet.
	Lost time.Time
	// Handler is what the HandlerFunc returned.
	Handler Handler
}

// ID returns the task's ID.
func (r RunningTask) ID() string { return r.Task.ID() }
