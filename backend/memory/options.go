package memory

import (
	"fmt"
	"maps"
	"math"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/metafora-go/metafora"
)

// Option configures a Coordinator. Options given to [NewBroker] hold for all of
// its Coordinators, before those given to [Broker.Coordinator].
type Option func(*options)

type options struct {
	ttl      time.Duration
	margin   time.Duration
	taskFunc metafora.TaskFunc
	weight   float64
	labels   map[string]string
	logger   hclog.Logger
}

// WithTTL sets the time to live of the node's lease, which is how long the
// tasks of a dead node wait. Default 10 s.
func WithTTL(d time.Duration) Option { return func(o *options) { o.ttl = d } }

// WithMargin sets how long before the lease can expire at the broker a node
// that could not renew it gives up its claims. At most half of the TTL; default
// a fifth of it.
func WithMargin(d time.Duration) Option { return func(o *options) { o.margin = d } }

// WithTaskFunc sets how stored properties become Tasks. Default
// [metafora.PlainTask].
func WithTaskFunc(f metafora.TaskFunc) Option { return func(o *options) { o.taskFunc = f } }

// WithWeight sets the node's share of the work relative to others. Default 1.
func WithWeight(w float64) Option { return func(o *options) { o.weight = w } }

// WithLabels sets the labels of the node, for balancers that match tasks with
// nodes. Default none.
func WithLabels(labels map[string]string) Option {
	labels = maps.Clone(labels)
	return func(o *options) { o.labels = labels }
}

// WithLogger sets where logs go. Default nowhere.
func WithLogger(l hclog.Logger) Option { return func(o *options) { o.logger = l } }

// resolve applies opts in turn and fills in the defaults.
func resolve(opts ...[]Option) options {
	var o options
	for _, list := range opts {
		for _, apply := range list {
			apply(&o)
		}
	}
	if o.ttl == 0 {
		o.ttl = 10 * time.Second
	}
	if o.margin == 0 {
		o.margin = o.ttl / 5
	}
	if o.taskFunc == nil {
		o.taskFunc = metafora.PlainTask
	}
	if o.weight == 0 {
		o.weight = 1
	}
	if o.logger == nil {
		o.logger = hclog.NewNullLogger()
	}
	return o
}

// validate returns an error that names the first value that cannot be.
func (o options) validate() error {
	switch {
	case o.ttl < 0:
		return fmt.Errorf("TTL %v is negative", o.ttl)
	case o.margin < 0 || o.margin > o.ttl/2:
		return fmt.Errorf("margin %v: want at most half of the TTL %v", o.margin, o.ttl)
	case !(o.weight > 0) || math.IsInf(o.weight, 0):
		return fmt.Errorf("weight %v: want a positive number", o.weight)
	}
	return nil
}

// renewEvery leaves time for a second try before the margin begins.
func (o options) renewEvery() time.Duration { return o.ttl / 3 }
