package metafora

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Consumer is one node of a cluster. It claims tasks as its Balancer says, runs
// a Handler for each, and gives them back.
//
// A task that was announced is in one place at a time: it is deferred, its claim
// is in flight, or it runs. An announcement of a task that is in flight or runs
// is remembered and considered when that has ended.
type Consumer struct {
	coord      Coordinator
	newHandler HandlerFunc
	balancer   Balancer
	forgetter  Forgetter   // nil where the Balancer is none
	lease      LeaseHolder // nil where the Coordinator has none
	opts       options
	log        hclog.Logger
	jitter     jitter
	retry      backoff
	made       time.Time // times that there are many of are kept relative to it

	announced chan Task     // from Watch to the main loop, which take turns
	commands  chan Command  // from Command to the main loop
	wake      chan struct{} // something the main loop or a shutdown looks at has changed
	ended     chan struct{} // closed when Run has returned

	// loops has the goroutines that end when a context or the Coordinator does,
	// handlers those that end when user code lets them.
	loops, handlers sync.WaitGroup

	// Run sets these before it starts any goroutine.
	runCtx     context.Context // ends when a shutdown begins
	handlerCtx context.Context // what the contexts of handlers derive from
	brokerCtx  context.Context // ends at the end of a shutdown

	// mu guards all below. No user code, no Coordinator method and no channel
	// send that may block is called under it.
	mu        sync.Mutex
	started   time.Time
	stopRun   context.CancelFunc // nil until Run was called
	shutdown  bool
	frozen    bool
	draining  bool
	drainEnd  time.Time // when the contexts of drained handlers end, zero once they have
	balanceAt time.Time
	rounds    int // balance rounds so far
	accepting acceptance

	tasks    map[string]*running // until the broker knows what the handler said
	flights  map[string]*flight
	deferred deferredQueue
	stops    map[*running]struct{} // those with a call of Stop under way
	settling int                   // tasks whose handlers have returned
	keeping  int                   // flights, and tasks that were not asked to stop
}

// announcedAtOnce is how many tasks Watch may be ahead of the main loop: in a large
// cluster most of what is announced is left to other nodes, for less than a change
// of goroutines costs.
const announcedAtOnce = 64

// NewConsumer returns a Consumer for the node of coord, which it closes when Run
// ends. It calls h concurrently, and b from one goroutine.
func NewConsumer(coord Coordinator, h HandlerFunc, b Balancer, opts ...Option) (*Consumer, error) {
	o := defaultOptions()
	for _, opt := range opts {
		opt(&o)
	}
	err := o.validate()
	if coord == nil {
		err = errors.Join(errors.New("nil coordinator"), err)
	}
	if h == nil {
		err = errors.Join(errors.New("nil handler function"), err)
	}
	if b == nil {
		err = errors.Join(errors.New("nil balancer"), err)
	}
	if err != nil {
		return nil, fmt.Errorf("metafora: new consumer: %w", err)
	}
	forgetter, _ := b.(Forgetter)
	lease, _ := coord.(LeaseHolder)
	j, now := newJitter(o.seed, coord.Name()), time.Now()
	return &Consumer{
		coord:      coord,
		newHandler: h,
		balancer:   b,
		forgetter:  forgetter,
		lease:      lease,
		opts:       o,
		log:        o.log.With("node", coord.Name()),
		jitter:     j,
		made:       now,
		retry:      backoff{least: o.retryMin, most: o.retryMax, jitter: j},
		announced:  make(chan Task, announcedAtOnce),
		commands:   make(chan Command),
		wake:       make(chan struct{}, 1),
		ended:      make(chan struct{}),
		tasks:      make(map[string]*running),
		flights:    make(map[string]*flight),
		deferred:   newDeferredQueue(now),
		stops:      make(map[*running]struct{}),
	}, nil
}

// Run joins the cluster and runs tasks until ctx ends, Shutdown is called or the
// Coordinator can no longer watch. Then it asks all handlers to stop, gives them
// the drain timeout to return before it ends their contexts, releases their
// tasks and closes the Coordinator. It returns nil at a graceful end, else the
// error that ended it. An error wrapping [ErrHandlerStuck] names the tasks of
// handlers that still run: their claims are left to the lease. Run can be called
// once.
//
// Handlers see the values of ctx.
func (c *Consumer) Run(ctx context.Context) error {
	runCtx, stop := context.WithCancel(ctx)
	defer stop()
	run, err := c.begin(stop)
	if err != nil {
		return err
	}
	defer close(c.ended)
	if !run || ctx.Err() != nil {
		return c.closeCoordinator()
	}
	if err := c.coord.Init(runCtx, coordinatorContext{c}); err != nil {
		if runCtx.Err() != nil {
			err = nil // it was told to stop before it had joined
		} else {
			err = fmt.Errorf("join the cluster as %q: %w", c.coord.Name(), err)
		}
		return errors.Join(err, c.closeCoordinator())
	}
	if err := c.initBalancer(); err != nil {
		return errors.Join(err, c.closeCoordinator())
	}
	c.log.Info("node joined the cluster")

	base := context.WithoutCancel(ctx)
	brokerCtx, abandonBroker := context.WithCancel(base)
	defer abandonBroker()
	c.runCtx, c.handlerCtx, c.brokerCtx = runCtx, base, brokerCtx
	failed := make(chan error, 1)
	c.loops.Go(func() {
		defer stop()
		if err := c.watch(runCtx); err != nil {
			failed <- err
		}
	})
	c.loops.Go(func() { c.readCommands(runCtx) })
	c.loop(runCtx)

	var cause error
	select {
	case cause = <-failed:
		c.log.Error("node leaves the cluster because it cannot go on", "error", cause)
	default:
		c.log.Info("node leaves the cluster")
	}
	return errors.Join(cause, c.leave(abandonBroker))
}

// begin reports whether to run at all.
func (c *Consumer) begin(stop context.CancelFunc) (run bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopRun != nil {
		return false, fmt.Errorf("metafora: consumer %q was run before", c.coord.Name())
	}
	c.stopRun = stop
	c.started = time.Now()
	c.scheduleBalance(c.started)
	return !c.shutdown, nil
}

// Shutdown makes Run end gracefully and waits until it has returned. It may be
// called at any time and more than once; if it is called before Run, Run closes
// the Coordinator and returns at once. A handler must not call it and wait: Run
// waits for the handler.
func (c *Consumer) Shutdown() {
	c.mu.Lock()
	c.shutdown = true
	stop := c.stopRun
	c.mu.Unlock()
	if stop == nil {
		return
	}
	stop()
	<-c.ended
}

// watch feeds the main loop with announced tasks until ctx ends. Its error says
// why there will be no more.
func (c *Consumer) watch(ctx context.Context) error {
	err := c.coord.Watch(ctx, c.announced)
	switch {
	case ctx.Err() != nil:
		return nil
	case err == nil:
		return errors.New("watch tasks: the coordinator stopped watching")
	}
	return fmt.Errorf("watch tasks: %w", err)
}

// loop is the main loop: it alone calls the Balancer, claims and takes commands.
func (c *Consumer) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	deferredTurn, inARow := false, 0
	for ctx.Err() == nil {
		now := time.Now()
		a := c.agenda(now)
		switch {
		case a.balance:
			c.balance()
			continue
		case a.overdue:
			c.endContexts()
			continue
		}
		var announced <-chan Task
		if a.open {
			announced = c.announced
		}
		if !a.deferred {
			// Many are announced in a row, and a choice of several costs as much
			// as to consider one.
			if inARow < announcedAtOnce {
				select {
				case t := <-announced:
					inARow++
					c.consider(t)
					continue
				default:
				}
			}
			inARow = 0
			timer.Reset(a.next.Sub(now))
			select {
			case <-ctx.Done():
			case <-timer.C:
			case <-c.wake:
			case cmd := <-c.commands:
				c.handleCommand(cmd)
			case t := <-announced:
				c.consider(t)
			}
			continue
		}
		// Deferred and announced tasks take turns, so that neither hold up
		// the others, however many there are.
		if deferredTurn = !deferredTurn; deferredTurn {
			c.reconsider()
			continue
		}
		select {
		case cmd := <-c.commands:
			c.handleCommand(cmd)
		case t := <-announced:
			c.consider(t)
		default:
		}
	}
}

// agenda is what there is to do for the main loop.
type agenda struct {
	balance  bool      // a balance round is due
	overdue  bool      // the handlers of a drained node have had their time
	deferred bool      // a deferred task is due and may be claimed
	open     bool      // announced tasks can be taken in
	next     time.Time // when to look again at the latest
}

func (c *Consumer) agenda(now time.Time) agenda {
	c.mu.Lock()
	defer c.mu.Unlock()
	room := len(c.flights) < c.opts.claimsInFlight
	// On a frozen node tasks wait in Watch, which knows those that are gone, but
	// for a few.
	a := agenda{open: room && !c.frozen, next: now.Add(c.opts.balanceInterval)}
	if !c.frozen {
		a.balance = !c.balanceAt.After(now)
		a.next = c.balanceAt
		if first, due := c.deferred.first(); first != nil && room {
			a.deferred = !due.After(now)
			a.next = earlier(a.next, due)
		}
	}
	if !c.drainEnd.IsZero() {
		a.overdue = !c.drainEnd.After(now)
		a.next = earlier(a.next, c.drainEnd)
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// notify makes the main loop, or a shutdown, look again.
func (c *Consumer) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// coordinatorContext is what the Coordinator sees of the Consumer.
type coordinatorContext struct{ c *Consumer }

// Lost implements [CoordinatorContext].
func (cc coordinatorContext) Lost(claim Claim, cause error) { cc.c.lose(claim, cause) }

// ClusterChanged implements [CoordinatorContext].
func (cc coordinatorContext) ClusterChanged() { cc.c.balanceSoon() }
