package metafora

import "time"

// Balancer decides which tasks a node claims and which it lets go. All methods
// are called from the Consumer's main loop, never concurrently, and must
// neither block nor sleep: a Balancer that wants other nodes to go first
// returns a later time. A panic is logged: in CanClaim it puts the task off for
// one balance interval, in Balance it releases nothing, in Init it ends Run.
type Balancer interface {
	// Init is called once, before any other method.
	Init(bc BalancerContext)

	// CanClaim tells whether to claim a task now. If not, the task comes back
	// to CanClaim at the time until, unless it is gone or owned by then; a
	// time that has passed means soon. Cluster changes may bring it back
	// earlier.
	CanClaim(t Task) (until time.Time, ok bool)

	// Balance returns the IDs of running tasks to release. The Consumer calls
	// it at intervals, on command, and soon after the cluster changed. IDs
	// that this node does not own, or that are already stopping, are ignored.
	Balance() []string
}

// Forgetter is a Balancer that remembers tasks from one call of CanClaim to the next. The
// Consumer finds out by itself whether its Balancer is one.
type Forgetter interface {
	Balancer

	// Forget is called for each announcement of a task, before CanClaim is asked about
	// it. A task that was announced before had an owner since, or is another one of the
	// same ID: what CanClaim was asked then, and said, no longer counts. A panic is logged.
	Forget(id string)
}

// BalancerContext is what a Balancer can see of its Consumer.
type BalancerContext interface {
	// Node returns the name of this node.
	Node() string
	// Count returns how many tasks this node owns and will keep: running ones
	// that were not asked to stop, and claims in flight.
	Count() int
	// Tasks returns the running tasks that were not asked to stop, sorted by
	// ID. It costs time proportional to their number.
	Tasks() []RunningTask
}
