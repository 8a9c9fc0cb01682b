package statemachine

import (
	"time"

	"github.com/hashicorp/go-hclog"
)

// Option changes how the machines of New and HandlerFunc work.
type Option func(*config)

// WithErrHandler sets what decides after an error. Default: DefaultErrHandler.
func WithErrHandler(h ErrHandler) Option {
	return func(c *config) {
		if h != nil {
			c.errHandler = h
		}
	}
}

// WithLogger sets where a machine logs. Default: nowhere.
func WithLogger(l hclog.Logger) Option {
	return func(c *config) {
		if l != nil {
			c.logger = l
		}
	}
}

// WithRetry sets how often a machine tries to load or store a state before it
// releases the task, at least once, and how long it waits after the first
// failure; each wait is twice the one before. It waits after the last failure
// too, so that a task whose state cannot be read does not spin from node to
// node. Default: 5 times, waiting 100 ms first and 3.1 s in all.
func WithRetry(attempts int, firstWait time.Duration) Option {
	return func(c *config) { c.attempts, c.firstWait = max(1, attempts), max(0, firstWait) }
}

// config is what the machines of one HandlerFunc share.
type config struct {
	handler    StatefulHandler
	store      StateStore
	listener   CommandListener
	errHandler ErrHandler
	logger     hclog.Logger
	attempts   int
	firstWait  time.Duration
}

func newConfig(h StatefulHandler, s StateStore, l CommandListener, opts []Option) *config {
	c := &config{
		handler:    h,
		store:      s,
		listener:   l,
		errHandler: DefaultErrHandler,
		logger:     hclog.NewNullLogger(),
		attempts:   5,
		firstWait:  100 * time.Millisecond,
	}
	for _, o := range opts {
		o(c)
	}
	return c
}
