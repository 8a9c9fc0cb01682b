package metafora

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Option is an option of [NewConsumer].
type Option func(*options)

type options struct {
	log             hclog.Logger
	observer        Observer
	claimsInFlight  int
	balanceInterval time.Duration
	balanceDelay    time.Duration
	drainTimeout    time.Duration
	stuckGrace      time.Duration
	reclaimDelay    time.Duration
	retryMin        time.Duration
	retryMax        time.Duration
	seed            uint64
}

func defaultOptions() options {
	return options{
		log:             hclog.NewNullLogger(),
		observer:        NopObserver{},
		claimsInFlight:  256,
		balanceInterval: time.Minute,
		balanceDelay:    time.Second,
		drainTimeout:    30 * time.Second,
		stuckGrace:      5 * time.Second,
		reclaimDelay:    time.Second,
		retryMin:        100 * time.Millisecond,
		retryMax:        10 * time.Second,
		seed:            rand.Uint64(),
	}
}

// WithLogger sets where the Consumer logs. The default is nowhere.
func WithLogger(l hclog.Logger) Option { return func(o *options) { o.log = l } }

// WithObserver sets who is told what the Consumer does, for metrics. The
// default is nobody.
func WithObserver(obs Observer) Option { return func(o *options) { o.observer = obs } }

// WithClaimsInFlight sets how many claims the Consumer asks the broker for at
// the same time. The default is 256.
func WithClaimsInFlight(n int) Option { return func(o *options) { o.claimsInFlight = n } }

// WithBalanceInterval sets the time between balance rounds. Each wait is drawn
// from half of it to one and a half times it, so that nodes which started
// together do not balance together. The default is one minute.
func WithBalanceInterval(d time.Duration) Option {
	return func(o *options) { o.balanceInterval = d }
}

// WithBalanceDelay sets how soon the Consumer balances after nodes joined, left
// or changed. All changes until then are answered by one round. The wait is
// drawn from half of d to one and a half times it. The default is one second.
func WithBalanceDelay(d time.Duration) Option {
	return func(o *options) { o.balanceDelay = d }
}

// WithDrainTimeout sets how long handlers may take to return after they were
// asked to stop by a shutdown or a drain command. Then their contexts end. The
// default is 30 seconds.
func WithDrainTimeout(d time.Duration) Option {
	return func(o *options) { o.drainTimeout = d }
}

// WithStuckGrace sets how long a shutdown waits for handlers whose contexts have
// ended before Run gives up on them. The default is 5 seconds.
func WithStuckGrace(d time.Duration) Option { return func(o *options) { o.stuckGrace = d } }

// WithReclaimDelay sets for how long the Consumer leaves a task that it has
// released to the other nodes before it claims the task again itself. The
// default is one second.
func WithReclaimDelay(d time.Duration) Option {
	return func(o *options) { o.reclaimDelay = d }
}

// WithRetryBackoff sets how long the Consumer waits before it repeats a call
// that the broker failed: least after the first failure, then twice as long
// after each further one, up to most. Half of each wait is drawn. The defaults
// are 100 ms and 10 seconds.
func WithRetryBackoff(least, most time.Duration) Option {
	return func(o *options) { o.retryMin, o.retryMax = least, most }
}

// WithSeed makes what the Consumer draws a function of the seed and the node's
// name, so that a simulation can be repeated. The default is a random seed.
func WithSeed(seed uint64) Option { return func(o *options) { o.seed = seed } }

// validate returns one error for each option that makes no sense.
func (o *options) validate() error {
	var errs []error
	reject := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	reject(o.log == nil, "nil logger")
	reject(o.observer == nil, "nil observer")
	reject(o.claimsInFlight < 1, "claims in flight must be at least 1, not %d", o.claimsInFlight)
	reject(o.balanceInterval <= 0, "balance interval must be positive, not %v", o.balanceInterval)
	reject(o.balanceDelay < 0, "balance delay must not be negative, not %v", o.balanceDelay)
	reject(o.drainTimeout < 0, "drain timeout must not be negative, not %v", o.drainTimeout)
	reject(o.stuckGrace < 0, "stuck grace must not be negative, not %v", o.stuckGrace)
	reject(o.reclaimDelay < 0, "reclaim delay must not be negative, not %v", o.reclaimDelay)
	reject(o.retryMin <= 0, "retry backoff must be positive, not %v", o.retryMin)
	reject(o.retryMax < o.retryMin, "retry backoff must not end at %v below its start, %v", o.retryMax, o.retryMin)
	return errors.Join(errs...)
}
