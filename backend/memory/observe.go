package memory

import "time"

// Change is what a write has done to one thing that a Broker keeps. Writes that
// change several things at once have one revision for all.
type Change struct {
	Revision uint64
	Kind     ChangeKind
	// ID is that of the node if Kind is NodeChange, else that of the task.
	ID string
	// Gone says that the thing was removed; what follows is empty then.
	Gone bool
	// Node is the owner of a task, and Lease the number of the lease that a
	// claim or a node's registration lives on.
	Node  string
	Lease uint64
	// Value is a task's properties, state or pending command as it is stored.
	// It must not be modified.
	Value []byte
}

// ChangeKind tells what has changed.
type ChangeKind int

// The kinds of changes. A task's owner, command and state are things of their
// own; commands to nodes are not told of.
const (
	TaskChange ChangeKind = iota
	OwnerChange
	StateChange
	CommandChange
	NodeChange
)

// Observe has f called with all changes from now on, in their order. It is
// called while the Broker is locked: it must not call anything of this package,
// nor block. nil ends it. It is for tests that hold a cluster to what the broker
// says, as package simtest does.
func (b *Broker) Observe(f func(Change)) {
	b.lock()
	defer b.unlock()
	b.observer = f
}

// changed tells of a change by the latest write.
func (b *Broker) changed(c Change) {
	if b.observer != nil {
		c.Revision = b.revision
		b.observer(c)
	}
}

// LeaseEnd returns when the lease of this number ends unless it is renewed. It
// reports false when it has ended.
func (b *Broker) LeaseEnd(lease uint64) (time.Time, bool) {
	b.lock()
	defer b.unlock()
	if l := b.leases[lease]; l != nil {
		return l.expiry.at, true
	}
	return time.Time{}, false
}
