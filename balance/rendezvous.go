package balance

import (
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/metafora-go/metafora"
)

const (
	defaultDelay      = 500 * time.Millisecond
	defaultLoadFactor = 1.2
)

// Rendezvous is a balancer for clusters of any size. A hash of task and node
// gives each task its own order of nodes. The first claims it at once, the
// second only after a delay, the third after two, and so on, so that a task
// costs about one attempt to claim it however many nodes there are. All nodes
// compute the same order from what they know of the cluster; they need not
// talk.
//
// A node's fair share of the tasks is in proportion to its [metafora.Node] Weight.
// The load is bounded: nodes that have their fair share of all tasks times the
// load factor go behind those that have not, nodes far below their share go
// before them, and nodes that let tasks pass go last. A node that joins gets tasks
// for which it is now the first, up to its fair share, and those of a node that
// leaves are spread over all others; no other task moves.
//
// See Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit
// Rates", 1998, for the order, and Mirrokni, Thorup and Zadimoghaddam,
// "Consistent Hashing with Bounded Loads", 2018, for the bound.
type Rendezvous struct {
	delay    time.Duration
	factor   float64
	eligible func(metafora.Task, metafora.Node) bool

	bc      metafora.BalancerContext
	members members
	waiting waiting
	damper  damper
}

var _ metafora.Forgetter = (*Rendezvous)(nil)

// RendezvousOption is an option of [NewRendezvous].
type RendezvousOption func(*Rendezvous)

// WithDelay sets how long each node in a task's order waits for the one before
// it. It should exceed the time from a claim until all nodes know of it, under
// load. The default is 500 ms.
func WithDelay(d time.Duration) RendezvousOption {
	return func(r *Rendezvous) {
		if d > 0 {
			r.delay = d
		}
	}
}

// WithLoadFactor sets how many times its fair share a node may have before
// others go first. Smaller factors place tasks more evenly, but move more of
// them when nodes come and go. It must be greater than 1; the default is 1.2.
func WithLoadFactor(f float64) RendezvousOption {
	return func(r *Rendezvous) {
		if f > 1 {
			r.factor = f
		}
	}
}

// WithEligible restricts which nodes may run a task. Only those have a place in
// its order, and a task without any waits. f must give the same answer on all
// nodes; [Match.Eligible] is one such function. The default is that each node
// may run each task.
func WithEligible(f func(metafora.Task, metafora.Node) bool) RendezvousOption {
	return func(r *Rendezvous) { r.eligible = f }
}

// NewRendezvous returns a Rendezvous balancer. The Coordinator of the node is its
// cluster state.
func NewRendezvous(cluster metafora.ClusterState, opts ...RendezvousOption) *Rendezvous {
	r := &Rendezvous{delay: defaultDelay, factor: defaultLoadFactor}
	for _, opt := range opts {
		opt(r)
	}
	r.members = members{cluster: cluster, window: 2 * r.delay, trials: true}
	r.waiting = newWaiting(r.delay / 5)
	return r
}

// Init implements [metafora.Balancer].
func (r *Rendezvous) Init(bc metafora.BalancerContext) {
	r.bc = bc
	r.members.init(bc.Node())
}

// Forget implements [metafora.Forgetter].
func (r *Rendezvous) Forget(id string) { r.waiting.forget(xxhash.Sum64String(id)) }

// CanClaim implements [metafora.Balancer]. It costs time proportional to the
// number of nodes, some nanoseconds for each.
func (r *Rendezvous) CanClaim(t metafora.Task) (until time.Time, ok bool) {
	now := time.Now()
	r.members.update(now, r.bc.Count())
	if r.members.self < 0 && r.eligible != nil {
		return now.Add(r.delay), false
	}
	if r.members.self >= 0 && !r.mayRun(t, r.members.self) {
		return now.Add(recheck), false
	}
	task := xxhash.Sum64String(t.ID())
	e := r.waiting.recall(task, now)
	p := r.place(t, task, r.members.total(e.fresh))
	if e.fresh && p.first >= 0 {
		r.members.assign(p.first)
	}
	return r.waiting.ready(task, e, now, time.Duration(p.ahead)*r.delay)
}
