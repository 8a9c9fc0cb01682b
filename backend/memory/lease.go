package memory

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/metafora-go/metafora"
)

// lease is a node's lease as the broker has it. It ends at its expiry unless it
// is renewed, and the registration and all claims of the node with it.
type lease struct {
	number uint64
	holder *Coordinator
	owned  map[string]*ownership
	expiry *alarm
}

// join takes a new lease and registers the node under it. The name is free.
func (c *Coordinator) join() {
	b := c.broker
	b.granted++
	l := &lease{number: b.granted, holder: c, owned: make(map[string]*ownership)}
	b.leases[l.number] = l
	l.expiry = b.alarms.newAlarm(func() { b.endLease(l) })
	c.lease = l
	c.extendLease()
	b.register(c)
}

// extendLease makes the lease last a TTL from now, and the node trust it for a
// margin less.
func (c *Coordinator) extendLease() {
	now := time.Now()
	alarms := &c.broker.alarms
	c.deadline = now.Add(c.opts.ttl - c.opts.margin)
	alarms.set(c.renewal, now.Add(c.opts.renewEvery()))
	alarms.set(c.cutoff, c.deadline)
	alarms.set(c.lease.expiry, now.Add(c.opts.ttl))
}

// renewLease is what the node does at each renewal.
func (c *Coordinator) renewLease() {
	switch {
	case c.link != connected:
		// The renewal is lost. Heal makes up for it.
	case c.leaseOverdue():
		// The process slept past its deadline, and this timer comes first.
		c.cutOff()
	default:
		c.extendLease()
	}
}

// cutOff is what the node does when it could not renew its lease in time.
func (c *Coordinator) cutOff() {
	if c.link == paused {
		return // Heal looks at the clock before anything else.
	}
	c.loseLease()
	c.rejoin()
}

// leaseOverdue reports whether the node has to give up a lease that it holds.
func (c *Coordinator) leaseOverdue() bool { return !time.Now().Before(c.deadline) }

// loseLease ends the lease as far as the node knows, and its claims with it.
func (c *Coordinator) loseLease() {
	c.stopTimers()
	c.lease = nil
	if now := time.Now(); c.deadline.After(now) {
		c.deadline = now
	}
	claims := inOrder(c.held)
	c.later(func() {
		c.opts.logger.Warn("lease lost", "node", c.name, "claims", len(claims))
	})
	for _, o := range claims {
		c.lose(o, metafora.ErrLeaseLost)
	}
	c.changed.fire()
}

// rejoin comes back under a new lease as soon as the broker lets it: when it
// can be reached and no other node has taken the name. It may be that the node
// has given up a lease that the broker still has; nothing keeps that one.
func (c *Coordinator) rejoin() {
	if c.link != connected {
		return
	}
	switch r := c.broker.cluster.nodes[c.name]; {
	case r == nil:
		c.join()
		c.later(func() { c.opts.logger.Info("joined again", "node", c.name) })
		c.changed.fire()
	case r.lease.holder == c:
		c.broker.endLease(r.lease) // which makes the name free, and lets c in
	}
}

func (c *Coordinator) stopTimers() {
	c.broker.alarms.cancel(c.renewal)
	c.broker.alarms.cancel(c.cutoff)
}

// endLease is what the broker does when a lease expires or is revoked.
func (b *Broker) endLease(l *lease) {
	b.alarms.cancel(l.expiry)
	delete(b.leases, l.number)
	b.write()
	for _, o := range inOrder(l.owned) {
		b.disown(o)
		b.claimable.add(o.task)
	}
	if c := l.holder; c.lease == l && c.err == nil && c.link == connected {
		c.loseLease()
	}
	b.deregister(l)
}

// inOrder returns claims in the order in which they were made.
func inOrder(claims map[string]*ownership) []*ownership {
	return slices.SortedFunc(maps.Values(claims), func(a, b *ownership) int {
		return cmp.Compare(a.claim.Fence, b.claim.Fence)
	})
}

// LeaseDeadline implements [metafora.LeaseHolder]. While the node has no lease
// it is the time at which it lost the last one.
func (c *Coordinator) LeaseDeadline() time.Time {
	c.broker.lock()
	defer c.broker.unlock()
	return c.deadline
}
