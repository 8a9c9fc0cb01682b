package memory

import (
	"errors"
	"fmt"
	"slices"

	"github.com/metafora-go/metafora"
)

var (
	// ErrUnreachable is what the calls of a node return while it is cut off
	// from the broker: see [Broker.Partition].
	ErrUnreachable = errors.New("memory: broker is unreachable")
	// ErrKilled is what the calls of a node return after [Broker.Kill].
	ErrKilled = errors.New("memory: node was killed")
)

// link is how a node and the broker reach each other.
type link int

const (
	connected link = iota
	partitioned
	paused
)

// Partition cuts a node off from the broker until [Broker.Heal]. Its calls fail
// at once with [ErrUnreachable], Watch and Command stay silent, and ClusterState
// stands still. Renewals fail, so that the node loses its claims a margin before
// the end of its TTL, and the broker gives them away at the end of it.
//
// It hits the Coordinators of this name that exist, joined or not, and not one
// made later: that is another process, which can take the name once the lease
// is gone. Partition reports whether there was one.
func (b *Broker) Partition(node string) bool { return b.cutLink(node, partitioned) }

// Pause stops a node like SIGSTOP, until [Broker.Heal]: its calls block, and no
// timer of its fires. It finds out when it wakes that its lease has ended. The
// handlers of a Consumer go on: they are not the Broker's to stop. Otherwise
// Pause is like [Broker.Partition], which wakes a node that is paused.
func (b *Broker) Pause(node string) bool { return b.cutLink(node, paused) }

func (b *Broker) cutLink(node string, l link) bool {
	b.lock()
	defer b.unlock()
	named := b.cluster.named(node)
	for _, c := range named {
		if c.link == connected {
			c.stale.Store(b.view())
		}
		woken := c.link == paused && l == partitioned
		c.link = l
		if woken && c.lease != nil && c.leaseOverdue() {
			c.loseLease()
		}
	}
	return len(named) > 0
}

// Heal undoes [Broker.Partition] and [Broker.Pause]. A node whose lease lasted
// renews it and has lost nothing, but for claims that others ended; any other
// joins again, unless its name is taken: then when it is free. A watch goes on
// where it was.
func (b *Broker) Heal(node string) {
	b.lock()
	defer b.unlock()
	for _, c := range b.cluster.named(node) {
		if c.link != connected {
			c.reconnect()
		}
	}
}

// reconnect catches up with what happened while the node was cut off. What it
// has lost comes first: its handlers may be running on borrowed time.
func (c *Coordinator) reconnect() {
	c.link = connected
	c.stale.Store(nil)
	c.changed.fire()
	if !c.joined {
		return
	}
	if l := c.lease; l != nil {
		if r := c.broker.cluster.nodes[c.name]; c.leaseOverdue() || r == nil || r.lease != l {
			c.loseLease()
		} else {
			c.extendLease()
		}
	}
	for _, o := range inOrder(c.held) {
		if o.task.owner != o {
			c.lose(o, metafora.ErrNotOwner)
		} else {
			o.deliverCommand()
		}
	}
	if c.lease == nil {
		c.rejoin()
	}
	c.clusterChanged()
}

// Kill ends a node as a crash does: without goodbye. Its calls fail with
// [ErrKilled], blocked ones too, nothing is reported to it any more, and its
// claims and its name stay taken until the lease ends. Another Coordinator of
// the name can join then. Kill reports whether there was one.
func (b *Broker) Kill(node string) bool {
	b.lock()
	defer b.unlock()
	victims := b.cluster.named(node)
	for _, c := range victims {
		c.end(ErrKilled)
	}
	return len(victims) > 0
}

// ExpireLease ends the lease of a live node at the broker, as "etcdctl lease
// revoke" does: its claims end and its registration goes. The node learns of it
// at once, unless it is cut off, and joins again. ExpireLease reports whether
// there is such a node.
func (b *Broker) ExpireLease(node string) bool {
	b.lock()
	defer b.unlock()
	r := b.cluster.nodes[node]
	if r == nil {
		return false
	}
	b.endLease(r.lease)
	return true
}

// DeleteOwner ends the claim on a task from outside, as deleting the owner's
// key in etcd does, so that the task is announced again. It reports whether the
// task had an owner.
func (b *Broker) DeleteOwner(id string) bool {
	b.lock()
	defer b.unlock()
	t := b.tasks[id]
	if t == nil || t.owner == nil {
		return false
	}
	o := t.owner
	b.write()
	b.disown(o)
	b.claimable.add(t)
	b.tellHolder(o)
	return true
}

// Compact drops the history that watches build on. They list all tasks again,
// and announce each claimable one once more.
func (b *Broker) Compact() {
	b.lock()
	defer b.unlock()
	b.claimable.compact()
}

// PutRawTask stores a task with a value that Client.SubmitTask might never
// store, such as one that a TaskFunc cannot read. The task must not exist.
func (b *Broker) PutRawTask(id string, value []byte) error {
	if err := metafora.ValidateID(id); err != nil {
		return fmt.Errorf("put task: %w", err)
	}
	b.lock()
	defer b.unlock()
	if b.tasks[id] != nil {
		return fmt.Errorf("put task %q: %w", id, metafora.ErrTaskExists)
	}
	b.submit(id, slices.Clone(value))
	return nil
}

// PutRawState stores a value as the state of a task, such as one that cannot be
// parsed, whether or not there is such a task.
func (b *Broker) PutRawState(id string, value []byte) {
	b.lock()
	defer b.unlock()
	b.write()
	b.putState(id, slices.Clone(value))
}

// PutRawTaskCommand stores a value as the pending command of a task, such as one
// that is malformed. ErrNoTask: no such task.
func (b *Broker) PutRawTaskCommand(id string, value []byte) error {
	b.lock()
	defer b.unlock()
	if err := b.sendTask(id, slices.Clone(value)); err != nil {
		return fmt.Errorf("put command of task %q: %w", id, err)
	}
	return nil
}

// PutRawCommand leaves a value as the next command of a node, such as one that
// is malformed, whether or not there is such a node.
func (b *Broker) PutRawCommand(node string, value []byte) {
	b.lock()
	defer b.unlock()
	b.leaveCommand(node, slices.Clone(value))
}

// tellHolder reports a claim as lost that ended by no doing of its node.
func (b *Broker) tellHolder(o *ownership) {
	if c := o.lease.holder; c.link == connected {
		c.lose(o, metafora.ErrNotOwner)
	}
}
