package balance

import (
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/metafora-go/metafora"
)

const (
	defaultPerTask  = 30 * time.Millisecond
	defaultMaxDelay = 10 * time.Second
	loadDelayGrace  = 250 * time.Millisecond
)

// LoadDelay is a balancer that leaves a task to others for longer the more tasks
// this node has, so that the node with the fewest claims it. It never releases
// any, and knows nothing of other nodes, so that it also works where the cluster
// state is not known.
//
// Beyond the maximum delay, divided by the delay for each task, all nodes are
// alike to it; and the fuller all nodes are, the longer each task waits.
// [Rendezvous] has neither limit.
type LoadDelay struct {
	perTask time.Duration
	longest time.Duration

	bc      metafora.BalancerContext
	seed    uint64
	waiting waiting
}

var _ metafora.Forgetter = (*LoadDelay)(nil)

// LoadDelayOption is an option of [NewLoadDelay].
type LoadDelayOption func(*LoadDelay)

// WithPerTask sets the delay for each task that a node has. It should exceed the
// time that a claim takes. The default is 30 ms.
func WithPerTask(d time.Duration) LoadDelayOption {
	return func(l *LoadDelay) {
		if d > 0 {
			l.perTask = d
		}
	}
}

// WithMaxDelay sets the longest delay. The default is 10 seconds.
func WithMaxDelay(d time.Duration) LoadDelayOption {
	return func(l *LoadDelay) {
		if d > 0 {
			l.longest = d
		}
	}
}

// NewLoadDelay returns a LoadDelay balancer.
func NewLoadDelay(opts ...LoadDelayOption) *LoadDelay {
	l := &LoadDelay{perTask: defaultPerTask, longest: defaultMaxDelay, waiting: newWaiting(loadDelayGrace)}
	for _, opt := range opts {
		opt(l)
	}
	return l
}

// Init implements [metafora.Balancer].
func (l *LoadDelay) Init(bc metafora.BalancerContext) {
	l.bc, l.seed = bc, xxhash.Sum64String(bc.Node())
}

// Forget implements [metafora.Forgetter].
func (l *LoadDelay) Forget(id string) { l.waiting.forget(xxhash.Sum64String(id)) }

// CanClaim implements [metafora.Balancer].
func (l *LoadDelay) CanClaim(t metafora.Task) (until time.Time, ok bool) {
	task := xxhash.Sum64String(t.ID())
	count := l.bc.Count()
	if count == 0 {
		return time.Time{}, true
	}
	// A part of a task's delay that differs by node tells equals apart.
	load := float64(count) + unit(mix(task^l.seed))
	delay := time.Duration(min(load*float64(l.perTask), float64(l.longest)))
	now := time.Now()
	return l.waiting.ready(task, l.waiting.recall(task, now), now, delay)
}

// Balance implements [metafora.Balancer]. It releases nothing.
func (l *LoadDelay) Balance() []string { return nil }
