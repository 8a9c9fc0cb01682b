package memory

import (
	"sync"

	"github.com/metafora-go/metafora"
)

// Broker keeps tasks, claims, states and commands in memory, for all nodes and
// clients of a cluster. All its methods are safe for concurrent use. It needs
// no closing: a Broker whose Coordinators are closed leaves nothing behind.
type Broker struct {
	defaults []Option
	owned    tally

	// mu guards all below, and what the Coordinators say it does. It is taken
	// by lock and released by unlock, never held during a callback, but for
	// the one of ListenFunc, which must call nothing back.
	mu        sync.Mutex
	observer  func(Change)
	revision  uint64
	granted   uint64 // leases so far
	leases    map[uint64]*lease
	tasks     map[string]*task
	claimable claimableLog
	ended     endedTasks
	states    map[string][]byte
	inboxes   map[string][][]byte // commands to nodes, oldest first
	cluster   cluster
	alarms    schedule
	unread    []*Coordinator // those that have calls to deliver
}

// task is one submission of a task. id, props and submission never change.
type task struct {
	id         string
	props      []byte
	submission uint64
	owner      *ownership
	place      uint64 // in the log of claimable tasks, 0 when not claimable
	command    *pendingCommand
	seen       announcements
}

// ownership is a claim as the broker has it.
type ownership struct {
	task     *task
	claim    metafora.Claim
	lease    *lease
	listener *listener
	granted  bool  // Claim has returned it
	lost     error // why the node lost it
}

// NewBroker returns an empty Broker. opts hold for all of its Coordinators.
func NewBroker(opts ...Option) *Broker {
	b := &Broker{
		defaults: opts,
		leases:   make(map[uint64]*lease),
		tasks:    make(map[string]*task),
		ended:    endedTasks{byID: make(map[string]*endedTask)},
		states:   make(map[string][]byte),
		inboxes:  make(map[string][][]byte),
		cluster:  cluster{nodes: make(map[string]*registration)},
	}
	b.alarms.fire = func() {
		b.lock()
		b.unlock()
	}
	return b
}

// Coordinator returns a Coordinator for a node of the given name. It joins the
// cluster, and tells of a name or an option that cannot be, with Init. The caller
// closes it, joined or not.
func (b *Broker) Coordinator(name string, opts ...Option) *Coordinator {
	return newCoordinator(b, name, resolve(b.defaults, opts))
}

// Client returns a Client of the broker.
func (b *Broker) Client() *Client { return &Client{broker: b} }

// Revision returns the number of writes so far. Fencing tokens are revisions.
func (b *Broker) Revision() uint64 {
	b.lock()
	defer b.unlock()
	return b.revision
}

// lock takes the broker's lock, after whatever is due by the clock: a call that
// comes at the instant at which a lease ends finds it ended, whether or not the
// timer's goroutine came first.
func (b *Broker) lock() {
	b.mu.Lock()
	b.alarms.runDue()
}

// catchUp is lock without the lock, for what can be read without it.
func (b *Broker) catchUp() {
	if b.alarms.due() {
		b.lock()
		b.unlock()
	}
}

// unlock releases the broker's lock and then makes the calls to
// CoordinatorContexts that were decided on while it was held.
func (b *Broker) unlock() {
	unread := b.unread
	b.unread = nil
	b.mu.Unlock()
	for _, c := range unread {
		c.deliver()
	}
}

// write begins a write and returns its revision.
func (b *Broker) write() uint64 {
	b.revision++
	return b.revision
}

func (b *Broker) submit(id string, props []byte) {
	t := &task{id: id, props: props, submission: b.write()}
	b.changed(Change{Kind: TaskChange, ID: id, Value: props})
	// What is left of an earlier submission is not this one's.
	if _, ok := b.states[id]; ok {
		delete(b.states, id)
		b.changed(Change{Kind: StateChange, ID: id, Gone: true})
	}
	t.seen.earlier = b.ended.take(id)
	b.tasks[id] = t
	b.claimable.add(t)
}

// remove takes a task away for good. Its state stays.
func (b *Broker) remove(t *task) {
	b.write()
	if t.owner != nil {
		b.disown(t.owner)
	} else {
		b.claimable.remove(t)
	}
	delete(b.tasks, t.id)
	b.changed(Change{Kind: TaskChange, ID: t.id, Gone: true})
	b.dropCommand(t)
	b.ended.add(t.id, t.seen.everSeen())
}

func (b *Broker) own(t *task, l *lease) *ownership {
	name := l.holder.name
	o := &ownership{
		task:  t,
		claim: metafora.Claim{TaskID: t.id, Node: name, Fence: b.write()},
		lease: l,
	}
	t.owner = o
	l.owned[t.id] = o
	b.owned.add(name, 1)
	b.claimable.remove(t)
	b.changed(Change{Kind: OwnerChange, ID: t.id, Node: name, Lease: l.number})
	return o
}

// disown ends a claim. The caller sees to the task and to the node's knowledge.
func (b *Broker) disown(o *ownership) {
	o.task.owner = nil
	delete(o.lease.owned, o.task.id)
	b.owned.add(o.claim.Node, -1)
	b.changed(Change{Kind: OwnerChange, ID: o.task.id, Gone: true})
}
