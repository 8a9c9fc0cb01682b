package balance

import (
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/metafora-go/metafora"
)

const (
	defaultThreshold = 1.2
	defaultPatience  = 5 * time.Second
	// fairWindow is how long tasks that were announced count as on their way.
	fairWindow = time.Second
	// fairSpread is the longest head start that nodes give to their equals.
	fairSpread = 250 * time.Millisecond
	// fairRecheck is how often an overloaded node looks whether it still is.
	fairRecheck = 500 * time.Millisecond
)

// Fair is a balancer that keeps each node below a threshold: its fair share of
// all tasks, in proportion to its [metafora.Node] Weight, plus a tolerance of, by
// default, 20%. A node below it claims what it
// can get, one above leaves tasks to the others for a while, and releases down to
// the threshold when it is told to balance.
//
// All nodes below the threshold try to claim each task, which costs an attempt
// of each of them, and a node that let tasks pass once, as it was slow to start, gets
// its share only as new tasks come. In clusters of more than a few nodes
// [Rendezvous] does better.
type Fair struct {
	threshold float64
	patience  time.Duration

	bc       metafora.BalancerContext
	members  members
	waiting  waiting
	demand   tally
	damper   damper
	released map[string]struct{} // by the latest round that released any
	// unwanted has tasks above the threshold that nobody else claimed in time, as
	// of a number of changes of the cluster: nodes with room refuse for reasons
	// of their own. To release as many would be in vain.
	unwanted map[string]struct{}
	asOf     int
}

var _ metafora.Forgetter = (*Fair)(nil)

// FairOption is an option of [NewFair].
type FairOption func(*Fair)

// WithThreshold sets how many times its fair share a node may have. It must be
// at least 1; the default is 1.2.
func WithThreshold(t float64) FairOption {
	return func(f *Fair) {
		if t >= 1 {
			f.threshold = t
		}
	}
}

// WithPatience sets how long a node leaves a task that it should not claim to the
// others, before it claims it all the same: an uneven cluster is better than a
// task that does not run. The default is 5 seconds.
func WithPatience(d time.Duration) FairOption {
	return func(f *Fair) {
		if d > 0 {
			f.patience = d
		}
	}
}

// WithNodeFilter restricts which nodes count as sharing the tasks, for clusters
// whose nodes run different handlers. The filter should select this node. The
// default is that all nodes count.
func WithNodeFilter(filter func(metafora.Node) bool) FairOption {
	return func(f *Fair) { f.members.filter = filter }
}

// NewFair returns a Fair balancer. The Coordinator of the node is its cluster
// state.
func NewFair(cluster metafora.ClusterState, opts ...FairOption) *Fair {
	f := &Fair{
		threshold: defaultThreshold,
		patience:  defaultPatience,
		members:   members{cluster: cluster, window: fairWindow},
		waiting:   newWaiting(fairRecheck),
		released:  make(map[string]struct{}),
		unwanted:  make(map[string]struct{}),
	}
	for _, opt := range opts {
		opt(f)
	}
	return f
}

// Init implements [metafora.Balancer].
func (f *Fair) Init(bc metafora.BalancerContext) {
	f.bc = bc
	f.members.init(bc.Node())
}

// Forget implements [metafora.Forgetter].
func (f *Fair) Forget(id string) { f.waiting.forget(xxhash.Sum64String(id)) }

// CanClaim implements [metafora.Balancer].
func (f *Fair) CanClaim(t metafora.Task) (until time.Time, ok bool) {
	now := time.Now()
	ms := &f.members
	ms.update(now, f.bc.Count())
	f.demand.observe(now, fairWindow, ms.owned)

	// Tasks that wait count as well: else the first node of an empty cluster
	// would be overloaded with its first task.
	task := xxhash.Sum64String(t.ID())
	e := f.waiting.recall(task, now)
	total := max(f.demand.expected(), ms.owned+1)
	if e.fresh {
		total = f.demand.expected() + 1
		f.demand.add()
	}
	needy := f.firstNeedy(task, total)
	wait := f.wait(task, total, needy)
	if _, justReleased := f.released[t.ID()]; justReleased {
		wait = f.patience
	}
	if e.fresh && needy >= 0 {
		ms.assign(needy)
	}
	until, ok = f.waiting.ready(task, e, now, wait)
	if ok && ms.self >= 0 && ms.list[ms.self].owned >= f.limit(total) {
		f.unwanted[t.ID()] = struct{}{}
	}
	if recheck := now.Add(fairRecheck); !ok && until.After(recheck) {
		until = recheck
	}
	return until, ok
}

// wait returns for how long this node leaves a task to the others. Nodes far below
// their share go before all others.
func (f *Fair) wait(task uint64, total, needy int) time.Duration {
	ms := &f.members
	switch {
	case len(ms.list) == 0:
		return 0
	case ms.self < 0:
		return f.patience
	case len(ms.list) == 1:
		return 0
	case ms.list[ms.self].owned >= f.limit(total):
		return f.patience
	case needy >= 0 && !f.needy(ms.self, total):
		return fairSpread + f.head(ms.self, task)
	}
	return f.head(ms.self, task)
}

// limit returns how many tasks this node may have, the threshold.
func (f *Fair) limit(total int) int {
	return ceil(f.threshold * f.members.share(f.members.self, total))
}

// head returns the head start that a member gives to its equals. It differs by
// task and node, so that not all nodes try to claim a task at once.
func (f *Fair) head(i int, task uint64) time.Duration {
	return time.Duration(unit(mix(task^f.members.list[i].seed)) * float64(fairSpread))
}

// needy tells whether a member is as far below its share as the threshold is
// above it.
func (f *Fair) needy(i, total int) bool {
	m := &f.members.list[i]
	return m.active && m.owned < scarce(f.members.share(i, total), f.threshold)
}

// firstNeedy returns the needy member that goes first for a task, -1 if none is.
func (f *Fair) firstNeedy(task uint64, total int) int {
	first, least := -1, time.Duration(0)
	for i := range f.members.list {
		if !f.needy(i, total) {
			continue
		}
		if head := f.head(i, task); first < 0 || head < least {
			first, least = i, head
		}
	}
	return first
}
