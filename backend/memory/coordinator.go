package memory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/metafora-go/metafora"
)

var (
	_ metafora.Coordinator  = (*Coordinator)(nil)
	_ metafora.ClusterState = (*Coordinator)(nil)
	_ metafora.LeaseHolder  = (*Coordinator)(nil)
)

var (
	errInitTwice = errors.New("memory: Init was called before")
	errNotJoined = errors.New("memory: node has not joined the cluster")
	errNoContext = errors.New("memory: nil CoordinatorContext")
)

// Coordinator is one node of a Broker's cluster. It implements
// [metafora.Coordinator], [metafora.ClusterState] and [metafora.LeaseHolder].
// A CoordinatorContext may call its methods, other than Close.
type Coordinator struct {
	broker *Broker
	name   string
	opts   options
	gone   chan struct{} // closed when the node has left or was killed

	// stale is what a node that is cut off knows of the cluster, else nil.
	stale atomic.Pointer[clusterView]

	// The broker's lock guards all below.
	number      int  // among the members of the cluster
	initialised bool // Init was called
	joined      bool // Init has succeeded
	context     metafora.CoordinatorContext
	err         error // why gone is closed
	accepting   bool
	changed     signal // the lease, the link or the inbox changed

	lease    *lease // nil while the node knows of none
	deadline time.Time
	renewal  *alarm
	cutoff   *alarm
	held     map[string]*ownership // claims as the node knows them, by task

	link link

	calls        []func() // to the context, oldest first
	changeQueued bool
	delivering   bool
	delivered    signal
}

func newCoordinator(b *Broker, name string, opts options) *Coordinator {
	c := &Coordinator{
		broker:    b,
		name:      name,
		opts:      opts,
		gone:      make(chan struct{}),
		accepting: true,
		held:      make(map[string]*ownership),
	}
	b.lock()
	defer b.unlock()
	c.number = b.cluster.enrol(c)
	c.renewal = b.alarms.newAlarm(c.renewLease)
	c.cutoff = b.alarms.newAlarm(c.cutOff)
	return c
}

// Init implements [metafora.Coordinator].
func (c *Coordinator) Init(ctx context.Context, cc metafora.CoordinatorContext) error {
	if err := c.init(ctx, cc); err != nil {
		return fmt.Errorf("join the cluster as node %q: %w", c.name, err)
	}
	c.opts.logger.Info("joined", "node", c.name)
	return nil
}

func (c *Coordinator) init(ctx context.Context, cc metafora.CoordinatorContext) error {
	if err := c.awake(ctx); err != nil {
		return err
	}
	b := c.broker
	defer b.unlock()
	if c.initialised {
		return errInitTwice
	}
	c.initialised = true
	if err := metafora.ValidateID(c.name); err != nil {
		return err
	}
	if err := c.opts.validate(); err != nil {
		return fmt.Errorf("memory: %w", err)
	}
	switch {
	case cc == nil:
		return errNoContext
	case c.link != connected:
		return ErrUnreachable
	case b.cluster.nodes[c.name] != nil:
		return metafora.ErrNodeExists
	}
	c.context, c.joined = cc, true
	c.join()
	return nil
}

// Claim implements [metafora.Coordinator].
func (c *Coordinator) Claim(ctx context.Context, t metafora.Task) (metafora.Claim, error) {
	if t == nil {
		return metafora.Claim{}, fmt.Errorf("claim: %w: nil task", metafora.ErrInvalidID)
	}
	o, err := c.claim(ctx, t)
	if err == nil {
		err = c.grant(o)
	}
	if err != nil {
		return metafora.Claim{}, fmt.Errorf("claim task %q as node %q: %w", t.ID(), c.name, err)
	}
	c.opts.logger.Debug("claimed", "task", o.claim.TaskID, "node", c.name, "fence", o.claim.Fence)
	return o.claim, nil
}

func (c *Coordinator) claim(ctx context.Context, t metafora.Task) (*ownership, error) {
	id := t.ID()
	if err := c.enter(ctx); err != nil {
		return nil, err
	}
	b := c.broker
	defer b.unlock()
	stored := b.tasks[id]
	switch {
	case c.lease == nil:
		return nil, metafora.ErrLeaseLost
	case c.link != connected:
		return nil, ErrUnreachable
	case stored == nil || stored.seen.stale(c.number, t):
		return nil, metafora.ErrNoTask
	case stored.owner != nil:
		return nil, metafora.ErrClaimed
	}
	o := b.own(stored, c.lease)
	c.held[id] = o
	return o, nil
}

// grant ends a Claim. A claim that was lost while Claim made the calls that had
// queued up fails: to report it lost before Claim has returned it would tell of
// a claim that nobody knows.
func (c *Coordinator) grant(o *ownership) error {
	c.broker.lock()
	defer c.broker.unlock()
	switch {
	case c.err != nil:
		return c.err
	case o.lost != nil:
		return o.lost
	}
	o.granted = true
	return nil
}

// Claimable implements [metafora.Coordinator]. It tells the present truth even to
// a node that is cut off: who drops a task that is not claimable must be able to
// count on the announcement that follows when it is so again.
func (c *Coordinator) Claimable(id string) bool {
	c.broker.lock()
	defer c.broker.unlock()
	t := c.broker.tasks[id]
	return t != nil && t.owner == nil
}

// Release implements [metafora.Coordinator]. Releasing a claim again returns
// ErrNotOwner.
func (c *Coordinator) Release(ctx context.Context, claim metafora.Claim) error {
	err := c.withClaim(ctx, claim, func(o *ownership) error {
		c.broker.write()
		c.broker.disown(o)
		c.broker.claimable.add(o.task)
		delete(c.held, claim.TaskID)
		return nil
	})
	if err != nil {
		return fmt.Errorf("release %v: %w", claim, err)
	}
	c.opts.logger.Debug("released", "task", claim.TaskID, "node", c.name, "fence", claim.Fence)
	return nil
}

// Done implements [metafora.Coordinator]. Repeating it returns ErrNotOwner.
func (c *Coordinator) Done(ctx context.Context, claim metafora.Claim) error {
	err := c.withClaim(ctx, claim, func(o *ownership) error {
		c.broker.remove(o.task)
		delete(c.held, claim.TaskID)
		return nil
	})
	if err != nil {
		return fmt.Errorf("finish %v: %w", claim, err)
	}
	c.opts.logger.Debug("done", "task", claim.TaskID, "node", c.name, "fence", claim.Fence)
	return nil
}

// Close implements [metafora.Coordinator]. The node's name is free at once,
// unless the node is cut off. A lease with claims is left to expire.
func (c *Coordinator) Close() error {
	if c.leave() {
		c.opts.logger.Info("left", "node", c.name)
	}
	c.awaitDelivery()
	return nil
}

// leave reports whether the node was in the cluster until now.
func (c *Coordinator) leave() (left bool) {
	b := c.broker
	b.lock()
	defer b.unlock()
	if c.err == nil {
		left = c.joined
		l := c.lease
		c.end(metafora.ErrClosed)
		switch {
		case l == nil || c.link != connected:
		case len(l.owned) == 0:
			b.endLease(l)
		default:
			b.write()
			b.deregister(l)
		}
	}
	c.err = metafora.ErrClosed // also where it was killed before
	return left
}

// end is the node's end; what the broker has of it is not touched.
func (c *Coordinator) end(err error) {
	c.err = err
	close(c.gone)
	c.stopTimers()
	c.lease = nil
	c.calls = nil
	for _, o := range c.held {
		o.listener = nil
	}
	clear(c.held)
	b := c.broker
	b.cluster.members[c.number] = nil
	b.ended.forget(c.number)
	for _, t := range b.tasks {
		t.seen.forget(c.number)
	}
}

// Name implements [metafora.Coordinator].
func (c *Coordinator) Name() string { return c.name }

// awake waits while the node is paused. It returns with the broker's lock held,
// unless it returns an error.
func (c *Coordinator) awake(ctx context.Context) error {
	for {
		c.broker.lock()
		if err := cmp.Or(c.err, ctx.Err()); err != nil {
			c.broker.unlock()
			return err
		}
		if c.link != paused {
			return nil
		}
		c.waitForChange(ctx, nil)
	}
}

// enter begins a call of a node that must have joined: see awake.
func (c *Coordinator) enter(ctx context.Context) error {
	if err := c.awake(ctx); err != nil {
		return err
	}
	if !c.joined {
		c.broker.unlock()
		return errNotJoined
	}
	return nil
}

// waitForChange releases the broker's lock and blocks until the node's affairs
// changed, also fired, ctx ended or the node is gone. The caller looks again.
func (c *Coordinator) waitForChange(ctx context.Context, also <-chan struct{}) {
	changed := c.changed.wait()
	c.broker.unlock()
	select {
	case <-changed:
	case <-also:
	case <-ctx.Done():
	case <-c.gone:
	}
}

// withClaim calls f, with the broker's lock held, if a claim is current.
func (c *Coordinator) withClaim(ctx context.Context, claim metafora.Claim, f func(*ownership) error) error {
	if err := c.enter(ctx); err != nil {
		return err
	}
	defer c.broker.unlock()
	o := c.held[claim.TaskID]
	switch {
	case o == nil || o.claim != claim:
		return metafora.ErrNotOwner
	case c.link != connected:
		return ErrUnreachable
	}
	return f(o)
}
