package balance

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/metafora-go/metafora"
)

// ErrInvalidLimits says that the limits of a Resource balancer make no sense.
var ErrInvalidLimits = errors.New("balance: invalid limits")

const (
	defaultSampling = time.Second
	// firstClaims is how many tasks an idle node claims before it looks what
	// they use.
	firstClaims = 8
)

// Reporter tells how much of a resource is in use. Package balance/hoststats has
// reporters for the memory and the processors of the host.
type Reporter interface {
	// Usage returns how much of the resource is in use, in percent. It must
	// not block.
	Usage() (percent float64, err error)
	// String names the resource in logs.
	String() string
}

// Resource is a balancer that watches a resource of this node, such as its
// memory. At the claim limit it claims no more; above the release limit it
// releases tasks. It knows nothing of other nodes: see [Combine] for how to have
// both.
//
// What a task uses shows only after it was claimed. Between two readings a node
// claims no more tasks than would take it to the claim limit if each used as much
// as those that it has.
type Resource struct {
	reporter       Reporter
	claim, release float64
	sampling       time.Duration
	log            hclog.Logger
	bc             metafora.BalancerContext
	latest         sample
	damper         damper
}

// sample is a reading of the resource.
type sample struct {
	at      time.Time
	usage   float64
	count   int // tasks of this node at that time
	failing bool
}

var _ metafora.Balancer = (*Resource)(nil)

// ResourceOption is an option of [NewResource].
type ResourceOption func(*Resource)

// WithSampling sets for how long a reading of the resource is used before the
// next is taken. The default is one second.
func WithSampling(d time.Duration) ResourceOption {
	return func(r *Resource) {
		if d > 0 {
			r.sampling = d
		}
	}
}

// WithLogger sets where a Resource balancer reports that its resource cannot be
// read. The default is nowhere.
func WithLogger(log hclog.Logger) ResourceOption {
	return func(r *Resource) {
		if log != nil {
			r.log = log
		}
	}
}

// NewResource returns a Resource balancer. The limits are in percent, and the claim
// limit must be below the release limit, or tasks would be claimed only to be
// released: the error wraps [ErrInvalidLimits] otherwise.
//
// While the resource cannot be read, the latest reading stands. Without any,
// nothing is limited.
func NewResource(reporter Reporter, claimLimit, releaseLimit float64, opts ...ResourceOption) (*Resource, error) {
	switch {
	case reporter == nil:
		return nil, errors.New("balance: nil reporter")
	case !(claimLimit > 0 && claimLimit < releaseLimit && releaseLimit <= 100):
		return nil, fmt.Errorf("%w: want 0 < claim limit < release limit <= 100, have %v and %v", ErrInvalidLimits, claimLimit, releaseLimit)
	}
	r := &Resource{
		reporter: reporter,
		claim:    claimLimit,
		release:  releaseLimit,
		sampling: defaultSampling,
		log:      hclog.NewNullLogger(),
	}
	for _, opt := range opts {
		opt(r)
	}
	return r, nil
}

// Init implements [metafora.Balancer].
func (r *Resource) Init(bc metafora.BalancerContext) { r.bc = bc }

// CanClaim implements [metafora.Balancer].
func (r *Resource) CanClaim(metafora.Task) (until time.Time, ok bool) {
	s := r.sample(time.Now())
	return s.at.Add(r.sampling), r.bc.Count()-s.count < r.room(s)
}

// room returns how many tasks may be claimed before the next reading.
func (r *Resource) room(s sample) int {
	if s.usage >= r.claim {
		return 0
	}
	if s.usage <= 0 {
		return math.MaxInt
	}
	return max(firstClaims, int(float64(s.count)*(r.claim-s.usage)/s.usage))
}

// Balance implements [metafora.Balancer]. It releases as many tasks as would take
// the usage to the release limit if each used as much as the others, and at
// least one. The oldest go first: they are the last to come by here again.
//
// What that brings shows only once their handlers have stopped. So it pauses after
// a round that released tasks, for 5 seconds at first and for longer if more has
// to be released soon after that.
func (r *Resource) Balance() []string {
	now := time.Now()
	s := r.sample(now)
	if s.usage <= r.release || r.damper.pauses(now, 0) {
		return nil
	}
	tasks := r.bc.Tasks()
	ids := oldest(tasks, ceil(float64(len(tasks))*(s.usage-r.release)/s.usage))
	r.damper.released(now, len(ids))
	return ids
}

// sample returns the latest reading, a new one if it is time for that.
func (r *Resource) sample(now time.Time) sample {
	if !r.latest.at.IsZero() && now.Sub(r.latest.at) < r.sampling {
		return r.latest
	}
	usage, err := r.reporter.Usage()
	if err == nil && !(usage >= 0) {
		err = fmt.Errorf("usage of %v%%", usage)
	}
	if err != nil {
		if !r.latest.failing {
			r.log.Warn("cannot read resource", "resource", r.reporter, "error", err)
		}
		usage = r.latest.usage
	}
	r.latest = sample{at: now, usage: usage, count: r.bc.Count(), failing: err != nil}
	return r.latest
}
