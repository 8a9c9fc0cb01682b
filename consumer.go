package metafora

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrRunTwice says that Run of a Consumer was called before.
var ErrRunTwice = errors.New("metafora: Run was called before")

// Consumer is a node: it claims tasks, runs their handlers, and hands them over.
// All methods are safe for concurrent use.
type Consumer struct {
	settings
	coord    Coordinator
	handler  HandlerFunc
	balancer Balancer
	lease    LeaseHolder // nil where the backend has none

	base      context.Context // of the handlers' contexts; its values are Run's
	broker    context.Context // of calls to coord for tasks; ends last
	endBroker context.CancelFunc
	wg        sync.WaitGroup // all goroutines but those that call handlers

	shutdown chan struct{} // closed by Shutdown
	shutOnce sync.Once
	finished chan struct{} // closed when Run returns
	kick     chan struct{} // holds one: something changed that the main loop acts on
	changed  chan struct{} // holds one: the cluster changed
	publish  chan struct{} // holds one: whether the node accepts tasks changed

	mu       sync.Mutex // guards what follows
	run      bool
	joined   bool
	gone     bool           // leave waits for no more handlers
	ends     sync.WaitGroup // handlers that have returned; none is added once gone
	stoppers int            // goroutines that call Handler.Stop
	started  time.Time
	stopping bool // claims that are won now are released
	frozen   bool
	draining bool
	claiming map[string]*attempt
	running  map[string]*running
	kept     int // of those in running: not asked to stop
	deferred deferrals
	released map[string]time.Time // by this node, until when it leaves the task to others
	again    []candidate          // to be considered by the main loop
}

// NewConsumer returns the Consumer of the node that coord stands for. The errors
// name what is missing or out of range. Call Run to start it; without Run it
// holds nothing that needs to be closed.
func NewConsumer(coord Coordinator, handler HandlerFunc, balancer Balancer, opts ...Option) (*Consumer, error) {
	switch {
	case coord == nil:
		return nil, errors.New("metafora: nil Coordinator")
	case handler == nil:
		return nil, errors.New("metafora: nil HandlerFunc")
	case balancer == nil:
		return nil, errors.New("metafora: nil Balancer")
	}
	s, err := newSettings(opts)
	if err != nil {
		return nil, err
	}
	c := &Consumer{
		settings: s,
		coord:    coord, handler: handler, balancer: balancer,
		shutdown: make(chan struct{}),
		finished: make(chan struct{}),
		kick:     make(chan struct{}, 1),
		changed:  make(chan struct{}, 1),
		publish:  make(chan struct{}, 1),
		claiming: make(map[string]*attempt),
		running:  make(map[string]*running),
		deferred: newDeferrals(),
		released: make(map[string]time.Time),
	}
	c.log = c.log.With("node", coord.Name())
	c.lease, _ = coord.(LeaseHolder)
	return c, nil
}

// Run joins the cluster and runs tasks until ctx ends, Shutdown is called, or
// the Coordinator fails; it returns the error of the latter, and nil else. Before
// it returns it stops all handlers, waits for them up to the drain timeout, ends
// their contexts, releases their tasks and closes the Coordinator. Handlers that
// do not return even then are named in an error that wraps ErrHandlerStuck; their
// tasks are left to the lease. Run can be called once.
func (c *Consumer) Run(ctx context.Context) error {
	c.mu.Lock()
	if c.run {
		c.mu.Unlock()
		return ErrRunTwice
	}
	c.run, c.started = true, time.Now()
	c.mu.Unlock()
	defer close(c.finished)

	c.base = context.WithoutCancel(ctx)
	c.broker, c.endBroker = context.WithCancel(c.base)
	defer c.endBroker()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.wg.Go(func() {
		select {
		case <-c.shutdown:
			cancel()
		case <-ctx.Done():
		}
	})
	err := c.serve(ctx)
	cancel()
	stuck := c.leave()
	return errors.Join(err, stuck, c.coord.Close())
}

// Shutdown makes Run end gracefully and waits until it has returned. Before Run,
// it makes Run return at once. It may be called any number of times.
func (c *Consumer) Shutdown() {
	c.shutOnce.Do(func() { close(c.shutdown) })
	c.mu.Lock()
	run := c.run
	c.mu.Unlock()
	if run {
		<-c.finished
	}
}

// serve joins and works until ctx ends or the Coordinator fails.
func (c *Consumer) serve(ctx context.Context) error {
	select {
	case <-c.shutdown:
		return nil
	default:
	}
	if err := c.coord.Init(ctx, consumerContext{c}); err != nil {
		if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
			return nil
		}
		return fmt.Errorf("join: %w", err)
	}
	c.mu.Lock()
	c.joined = true
	c.mu.Unlock()
	c.balancer.Init(balancerContext{c})
	c.log.Info("node started")

	tasks := make(chan Task)
	failed := make(chan error, 1)
	commands := make(chan Command)
	c.wg.Go(func() { failed <- c.coord.Watch(ctx, tasks) })
	c.wg.Go(func() { c.readCommands(ctx, commands) })
	c.wg.Go(func() { c.publishAccepting(ctx) })
	return c.loop(ctx, tasks, commands, failed)
}

// loop is the main loop. It alone calls the Balancer.
func (c *Consumer) loop(ctx context.Context, tasks <-chan Task, commands <-chan Command, failed <-chan error) error {
	wake := newAlarm()
	defer wake.stop()
	balance := newAlarm()
	defer balance.stop()
	balance.set(time.Now().Add(c.jitter(c.balanceEvery)))
	for {
		next, more := c.reconsider()
		wake.set(next)
		open := tasks
		if !c.hasSlot() {
			open = nil
		}
		if more {
			// Due tasks go in portions, so that nothing else waits for them.
			c.signal(c.kick)
		}
		select {
		case t := <-open:
			c.consider(candidate{task: t, seen: time.Now()}, true)
		case <-c.kick:
		case <-wake.C:
		case cmd := <-commands:
			c.obey(cmd)
		case <-c.changed:
			balance.hasten(time.Now().Add(c.jitter(c.balanceDelay)))
		case <-balance.C:
			c.balance()
			balance.set(time.Now().Add(c.jitter(c.balanceEvery)))
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			if err == nil {
				err = errors.New("ended by itself")
			}
			return fmt.Errorf("watch: %w", err)
		case <-ctx.Done():
			return nil
		}
	}
}

// leave stops what runs, releases it, and waits for all goroutines but those of
// handlers that ignore their contexts, which it names.
func (c *Consumer) leave() error {
	c.mu.Lock()
	c.stopping = true
	joined := c.joined
	c.mu.Unlock()
	if joined {
		c.bow()
	}
	c.stopAll()
	if !c.idleWithin(c.drainTimeout) {
		c.cancelAll(ErrStopped)
		c.idleWithin(c.stuckGrace)
	}
	c.endBroker()
	c.wg.Wait()
	c.mu.Lock()
	c.gone = true
	c.mu.Unlock()
	c.ends.Wait()
	var stuck []string
	for _, t := range c.Tasks() {
		stuck = append(stuck, t.ID())
	}
	if len(stuck) == 0 {
		c.log.Info("node stopped")
		return nil
	}
	return fmt.Errorf("%w: %q", ErrHandlerStuck, stuck)
}

// bow tells the others not to count on this node before it releases anything,
// so that they share its tasks among themselves at once.
func (c *Consumer) bow() {
	ctx, cancel := context.WithTimeout(c.broker, min(c.drainTimeout, time.Second))
	defer cancel()
	if err := c.coord.SetAccepting(ctx, false); err != nil {
		c.log.Debug("leaving unannounced", "error", err)
	}
}

// idleWithin waits until nothing runs and no claim is under way, up to a timeout.
func (c *Consumer) idleWithin(timeout time.Duration) bool {
	expired := time.NewTimer(timeout)
	defer expired.Stop()
	for !c.idle() {
		select {
		case <-c.kick:
		case <-expired.C:
			return c.idle()
		}
	}
	return true
}

func (c *Consumer) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.running) == 0 && len(c.claiming) == 0 && c.stoppers == 0
}

// signal puts a token into a channel that holds one.
func (*Consumer) signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// consumerContext is what the Coordinator sees of a Consumer.
type consumerContext struct{ c *Consumer }

func (cc consumerContext) Lost(claim Claim, cause error) { cc.c.lost(claim, cause) }
func (cc consumerContext) ClusterChanged()               { cc.c.signal(cc.c.changed) }

// balancerContext is what the Balancer sees of a Consumer.
type balancerContext struct{ c *Consumer }

func (bc balancerContext) Node() string { return bc.c.coord.Name() }

func (bc balancerContext) Count() int {
	bc.c.mu.Lock()
	defer bc.c.mu.Unlock()
	return bc.c.kept + len(bc.c.claiming)
}

func (bc balancerContext) Tasks() []RunningTask {
	return bc.c.tasks(func(r *running) bool { return r.stopped.IsZero() && r.lost.IsZero() })
}

// alarm is a timer that is set to a time.
type alarm struct {
	*time.Timer
	at time.Time // zero: not set
}

func newAlarm() *alarm {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &alarm{Timer: t}
}

func (a *alarm) set(at time.Time) {
	if at.Equal(a.at) {
		return
	}
	a.at = at
	if at.IsZero() {
		a.Stop()
		return
	}
	a.Reset(time.Until(at))
}

// hasten sets an earlier time.
func (a *alarm) hasten(at time.Time) {
	if at.Before(a.at) {
		a.set(at)
	}
}

func (a *alarm) stop() { a.Stop() }
