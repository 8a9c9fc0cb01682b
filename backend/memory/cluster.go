package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/metafora-go/metafora"
)

// cluster is who is in it: the registrations as the broker has them, and the
// Coordinators that are told of changes.
type cluster struct {
	nodes  map[string]*registration
	sorted []metafora.Node // the nodes by name, nil after a change; never modified
	// members are the Coordinators, joined or not yet, at the index that is
	// their number; nil where a number is free.
	members []*Coordinator
}

// registration is a live node. It lives as long as its lease.
type registration struct {
	node  metafora.Node
	lease *lease
}

// enrol adds a member and returns its number.
func (cl *cluster) enrol(c *Coordinator) int {
	n := slices.Index(cl.members, nil)
	if n < 0 {
		n = len(cl.members)
		cl.members = append(cl.members, nil)
	}
	cl.members[n] = c
	return n
}

// named returns the members of a name. More than one may have it, but only one
// a registration.
func (cl *cluster) named(name string) []*Coordinator {
	var named []*Coordinator
	for _, c := range cl.members {
		if c != nil && c.name == name {
			named = append(named, c)
		}
	}
	return named
}

func (cl *cluster) list() []metafora.Node {
	if cl.sorted == nil {
		cl.sorted = make([]metafora.Node, 0, len(cl.nodes))
		for _, r := range cl.nodes {
			cl.sorted = append(cl.sorted, r.node)
		}
		slices.SortFunc(cl.sorted, func(a, b metafora.Node) int { return cmp.Compare(a.Name, b.Name) })
	}
	return cl.sorted
}

// changed tells all members that nodes joined, left or changed.
func (cl *cluster) changed() {
	cl.sorted = nil
	for _, c := range cl.members {
		if c != nil && c.joined && c.link == connected {
			c.clusterChanged()
		}
	}
}

// register makes c a live node under its new lease.
func (b *Broker) register(c *Coordinator) {
	b.write()
	b.cluster.nodes[c.name] = &registration{
		node: metafora.Node{
			Name:      c.name,
			Accepting: c.accepting,
			Weight:    c.opts.weight,
			Labels:    c.opts.labels,
		},
		lease: c.lease,
	}
	b.changed(Change{Kind: NodeChange, ID: c.name, Lease: c.lease.number})
	b.cluster.changed()
}

// deregister ends the registration that came with a lease, if it is there
// still, and lets in a node that lost its lease and waits for the name.
func (b *Broker) deregister(l *lease) {
	name := l.holder.name
	if r := b.cluster.nodes[name]; r == nil || r.lease != l {
		return
	}
	delete(b.cluster.nodes, name)
	b.changed(Change{Kind: NodeChange, ID: name, Gone: true})
	b.cluster.changed()
	for _, c := range b.cluster.named(name) {
		if c.joined && c.lease == nil && c.link == connected {
			c.rejoin()
			return
		}
	}
}

// clusterView is what a node knew of the cluster when it was cut off.
type clusterView struct {
	nodes []metafora.Node
	owned map[string]int
}

func (b *Broker) view() *clusterView {
	return &clusterView{nodes: b.cluster.list(), owned: b.owned.snapshot()}
}

// Nodes implements [metafora.ClusterState].
func (c *Coordinator) Nodes() []metafora.Node {
	c.broker.lock()
	defer c.broker.unlock()
	if view := c.stale.Load(); view != nil {
		return view.nodes
	}
	return c.broker.cluster.list()
}

// NodeTaskCount implements [metafora.ClusterState].
func (c *Coordinator) NodeTaskCount(node string) int {
	c.broker.catchUp()
	if view := c.stale.Load(); view != nil {
		return view.owned[node]
	}
	return c.broker.owned.of(node)
}

// SetAccepting implements [metafora.Coordinator].
func (c *Coordinator) SetAccepting(ctx context.Context, accepting bool) error {
	if err := c.setAccepting(ctx, accepting); err != nil {
		return fmt.Errorf("set whether node %q accepts tasks: %w", c.name, err)
	}
	return nil
}

func (c *Coordinator) setAccepting(ctx context.Context, accepting bool) error {
	if err := c.enter(ctx); err != nil {
		return err
	}
	b := c.broker
	defer b.unlock()
	if c.link != connected {
		return ErrUnreachable
	}
	changed := c.accepting != accepting
	c.accepting = accepting
	// Without a lease there is no registration; the next one will tell.
	if changed && c.lease != nil {
		b.register(c)
	}
	return nil
}
