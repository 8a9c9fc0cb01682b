package simtest

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/statemachine"
)

// memoryBroker runs package backend/memory. Its calls have no requests that could
// be lost: each waits at a gate, and then takes effect or has failed before it did.
// Announcements and commands to nodes wait as news. Leases end by the clock.
type memoryBroker struct {
	sim      *Sim
	broker   *memory.Broker
	arrivals []delivery // a buffer

	mu   sync.Mutex // guards news
	news []memory.Change
}

func newMemoryBroker(s *Sim) *memoryBroker {
	b := &memoryBroker{
		sim:    s,
		broker: memory.NewBroker(memory.WithTTL(s.cfg.TTL), memory.WithMargin(s.cfg.Margin), memory.WithTaskFunc(numberedTask)),
	}
	b.broker.Observe(func(c memory.Change) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.news = append(b.news, c)
	})
	return b
}

func (b *memoryBroker) join(inc *incarnation) coordinator {
	return &memoryNode{Coordinator: b.broker.Coordinator(inc.node.name), inc: inc}
}

// memoryNode is a Coordinator whose calls wait, where probe does not see to that.
type memoryNode struct {
	*memory.Coordinator
	inc *incarnation
}

func (n *memoryNode) Init(ctx context.Context, cc metafora.CoordinatorContext) error {
	if err := n.inc.sim.broker.gate(ctx, n.inc, "register", n.Name()); err != nil {
		return err
	}
	return n.Coordinator.Init(ctx, cc)
}

// Close holds the node to leaving the claims of handlers that run to its lease.
func (n *memoryNode) Close() error {
	s := n.inc.sim
	s.mu.Lock()
	var runs []*run
	for _, r := range s.runs {
		if r.inc == n.inc && !r.returned {
			runs = append(runs, r)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(runs, compareRuns)
	runs = slices.DeleteFunc(runs, func(r *run) bool { return !s.broker.current(r.claim) })
	err := n.Coordinator.Close()
	for _, r := range runs {
		if !s.broker.current(r.claim) {
			s.blame(handsOff, "%s ends its claim %d on %s while its handler runs", n.inc, r.claim.Fence, r.claim.TaskID)
		}
	}
	return err
}

func (n *memoryNode) Command(ctx context.Context) (metafora.Command, error) {
	c, err := n.Coordinator.Command(ctx)
	if err == nil {
		err = n.inc.sim.wait(ctx, newPending(anArrival, n.inc, "commands", c.Name))
	}
	return c, err
}

func (b *memoryBroker) gate(ctx context.Context, inc *incarnation, verb, id string) error {
	return b.sim.wait(ctx, newPending(aCall, inc, verb, id))
}

func (b *memoryBroker) watch(ctx context.Context, p *probe, tasks chan<- metafora.Task) error {
	announced, ended := make(chan metafora.Task), make(chan error, 1)
	go func() { ended <- p.coordinator.Watch(ctx, announced) }()
	for {
		select {
		case t := <-announced:
			if b.sim.wait(ctx, newPending(anArrival, p.inc, "tasks", t.ID())) != nil {
				return p.returned(<-ended)
			}
			select {
			case tasks <- t:
			case <-ctx.Done():
			}
		case err := <-ended:
			return p.returned(err)
		}
	}
}

func (b *memoryBroker) admin() Client { return b.broker.Client() }
func (b *memoryBroker) user() Client  { return memoryClient{b.broker.Client(), b.sim} }

// memoryClient is a Client whose calls wait, and can fail before they take effect.
type memoryClient struct {
	*memory.Client
	sim *Sim
}

func (c memoryClient) wait(ctx context.Context, verb, id string) error {
	return c.sim.wait(ctx, newPending(aCall, nil, verb, id))
}

func (c memoryClient) SubmitTask(ctx context.Context, t metafora.Task) error {
	if err := c.wait(ctx, "submit", t.ID()); err != nil {
		return err
	}
	return c.Client.SubmitTask(ctx, t)
}

func (c memoryClient) SubmitTasks(ctx context.Context, ts []metafora.Task) error {
	ids := make([]string, len(ts))
	for i, t := range ts {
		ids[i] = t.ID()
	}
	if err := c.wait(ctx, "submit", strings.Join(ids, ", ")); err != nil {
		return err
	}
	return c.Client.SubmitTasks(ctx, ts)
}

func (c memoryClient) DeleteTask(ctx context.Context, id string) error {
	if err := c.wait(ctx, "delete", id); err != nil {
		return err
	}
	return c.Client.DeleteTask(ctx, id)
}

func (c memoryClient) SubmitCommand(ctx context.Context, node string, cmd metafora.Command) error {
	if err := c.wait(ctx, "command", node); err != nil {
		return err
	}
	return c.Client.SubmitCommand(ctx, node, cmd)
}

func (c memoryClient) Send(ctx context.Context, id string, m statemachine.Message) error {
	if err := c.wait(ctx, "send", id); err != nil {
		return err
	}
	return c.Client.Send(ctx, id, m)
}

func (b *memoryBroker) changed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.news) > 0
}

// changes tells of what the clock has done as of expiry, unless it was caused by
// the step.
func (b *memoryBroker) changes() iter.Seq[[]change] {
	b.mu.Lock()
	changed := b.news
	b.news = nil
	b.mu.Unlock()
	return func(yield func([]change) bool) {
		if b.sim.actor.kind == byNobody {
			b.sim.actor.kind = byExpiry
			defer func() { b.sim.actor.kind = byNobody }()
		}
		for len(changed) > 0 {
			n := slices.IndexFunc(changed, func(c memory.Change) bool { return c.Revision != changed[0].Revision })
			if n < 0 {
				n = len(changed)
			}
			var group []change
			for _, c := range changed[:n] {
				if c.Kind == memory.NodeChange && !c.Gone {
					b.sim.leases[int64(c.Lease)] = b.sim.node(c.ID).inc
				}
				group = append(group, memoryChange(c))
			}
			changed = changed[n:]
			if !yield(group) {
				return
			}
		}
	}
}

func memoryChange(c memory.Change) change {
	kind := map[memory.ChangeKind]placeKind{
		memory.TaskChange:    atTask,
		memory.OwnerChange:   atOwner,
		memory.StateChange:   atState,
		memory.CommandChange: atTaskCommand,
		memory.NodeChange:    atNode,
	}[c.Kind]
	ch := change{place: place{kind: kind, id: c.ID}, rev: int64(c.Revision)}
	if !c.Gone {
		ch.now = &content{since: ch.rev, owner: c.Node, lease: int64(c.Lease), value: c.Value}
		if c.Kind == memory.TaskChange {
			ch.now.number = numberOf(c.Value)
		}
	}
	return ch
}

// arrival is news for a node that waits to be delivered.
type arrival struct{ *pending }

func (a arrival) node() string { return a.pending.node() }
func (a arrival) what() string { return string(a.op) }

func (a arrival) news() fmt.Stringer {
	if a.op == "commands" {
		return told("hears: command " + a.id)
	}
	return told("hears: " + a.id + " is free")
}

func (a arrival) deliver(int) { a.inc.sim.reply(a.pending, nil) }

// told is news as a person would tell them.
type told string

func (t told) String() string { return string(t) }

func (b *memoryBroker) deliveries() []delivery {
	s := b.sim
	s.mu.Lock()
	defer s.mu.Unlock()
	list := b.arrivals[:0]
	for _, p := range s.waiting {
		if p.kind == anArrival && !p.inc.paused && !p.inc.cut && !p.inc.node.deaf {
			list = append(list, arrival{p})
		}
	}
	slices.SortFunc(list, func(a, b delivery) int { return comparePending(a.(arrival).pending, b.(arrival).pending) })
	b.arrivals = list
	return list
}

// current asks the broker: the ledger learns of changes after the nodes.
func (b *memoryBroker) current(claim metafora.Claim) bool {
	t, err := b.broker.Client().Task(context.Background(), claim.TaskID)
	return err == nil && t.Fence == claim.Fence
}

// heard looks at what waits: a node that is connected has the broker's own view.
func (b *memoryBroker) heard(inc *incarnation) (ofNodes, ofTasks bool) {
	if inc.cut || inc.node.deaf {
		return false, false
	}
	waits := func(what string) bool {
		return b.sim.waits(inc, func(p *pending) bool { return p.kind == anArrival && string(p.op) == what })
	}
	return !waits("nodes"), !waits("tasks")
}

func (b *memoryBroker) streams() []stream { return nil }

// due fires when a node has to have given a lease up, and when that ends.
func (b *memoryBroker) due() <-chan time.Time {
	var next time.Time
	now := time.Now()
	for _, lease := range b.sim.ledger.nodes {
		end, ok := b.leaseEnd(lease)
		for _, at := range []time.Time{end.Add(-b.sim.cfg.Margin + 1), end} {
			if ok && at.After(now) && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	}
	if next.IsZero() {
		return nil
	}
	return time.After(next.Sub(now))
}

func (b *memoryBroker) overdue() []int64    { return nil }
func (b *memoryBroker) expire(int64)        {}
func (b *memoryBroker) expireOverdue() bool { return false }

func (b *memoryBroker) leaseEnd(lease int64) (time.Time, bool) {
	return b.broker.LeaseEnd(uint64(lease))
}

func (b *memoryBroker) revoke(node string) bool {
	defer b.sim.observe()
	return b.broker.ExpireLease(node)
}

func (b *memoryBroker) deleteOwner(id string) bool {
	defer b.sim.observe()
	return b.broker.DeleteOwner(id)
}

func (b *memoryBroker) compact(int) { b.broker.Compact() }

func (b *memoryBroker) cut(inc *incarnation)    { b.link(inc) }
func (b *memoryBroker) paused(inc *incarnation) { b.link(inc) }
func (b *memoryBroker) healed(inc *incarnation) { b.link(inc) }

// link makes a node's link to the broker what its process and the network are.
func (b *memoryBroker) link(inc *incarnation) {
	switch name := inc.node.name; {
	case inc.paused:
		b.broker.Pause(name)
	case inc.cut:
		b.broker.Partition(name)
	default:
		b.broker.Heal(name)
	}
}

func (b *memoryBroker) crashed(inc *incarnation) { b.broker.Kill(inc.node.name) }
func (b *memoryBroker) close()                   {}
