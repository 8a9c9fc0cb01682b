package backendtest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/metafora-go/metafora"
)

func membershipChecks() []check {
	return []check{
		{"NodesAreSorted", nodesAreSortedWithThisOne},
		{"ChangesAreTold", clusterChangesAreTold},
		{"TaskCounts", taskCountsFollowTheClaims},
		{"LabelsAndWeight", labelsAndWeightAreSeenByAll},
		{"Accepting", acceptingIsSeenByAll},
		{"NameTaken", nameOfALiveNodeIsTaken},
		{"OneOfManyTakesAName", oneOfManyTakesAName},
		{"NameFreeAfterClose", nameIsFreeAfterClose},
		{"NameFreeAfterDeath", nameIsFreeAfterDeath},
		{"DeadNodeLeaves", deadNodeLeaves},
		{"NameNeverChanges", nameNeverChanges},
		{"ReadConcurrently", clusterIsReadConcurrently},
	}
}

// awaitNodes waits until a node knows exactly these live nodes.
func (n *node) awaitNodes(names ...string) {
	n.c.t.Helper()
	s := n.state()
	n.c.await(fmt.Sprintf("node %q knows the nodes %q", n.name, names), func() bool {
		return slices.Equal(namesOf(s.Nodes()), names)
	})
}

// awaitCount waits until a node knows how many tasks another one owns.
func (n *node) awaitCount(of string, want int) {
	n.c.t.Helper()
	s := n.state()
	n.c.await(fmt.Sprintf("node %q knows that node %q owns %d tasks", n.name, of, want), func() bool {
		return s.NodeTaskCount(of) == want
	})
}

// "the live nodes, this one included, sorted by name".
func nodesAreSortedWithThisOne(c *cluster) {
	var nodes []*node
	for _, name := range []string{"m", "z", "a", "k"} {
		n := c.join(name, NodeOptions{})
		if !slices.Contains(namesOf(n.state().Nodes()), name) {
			c.t.Fatalf("node %q does not know itself after Init: %q", name, namesOf(n.state().Nodes()))
		}
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		n.awaitNodes("a", "k", "m", "z")
	}
	c.must("close", nodes[2].close())
	for _, n := range []*node{nodes[0], nodes[1], nodes[3]} {
		n.awaitNodes("k", "m", "z")
	}
}

// "ClusterChanged says that nodes joined, left, or changed."
func clusterChangesAreTold(c *cluster) {
	a := c.join("a", NodeOptions{})
	told := func(what string, act func()) {
		mark := c.journal.mark()
		act()
		c.awaitEvent(mark, "ClusterChanged when "+what, a.said(changed))
	}
	var b *node
	told("a node joins", func() { b = c.join("b", NodeOptions{}) })
	a.awaitNodes("a", "b")
	c.grace()
	told("a node changes", func() { c.must("set accepting", b.SetAccepting(c.ctx, false)) })
	c.grace()
	told("a node leaves", func() { c.must("close", b.close()) })
	a.awaitNodes("a")
}

// "how many tasks a node owns, 0 for an unknown one".
func taskCountsFollowTheClaims(c *cluster) {
	ids := numbered("t", 12)
	c.submitMany(ids)
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	want := func(countA, countB int) {
		c.t.Helper()
		for _, n := range []*node{a, b} {
			n.awaitCount("a", countA)
			n.awaitCount("b", countB)
			n.awaitCount("unknown", 0)
		}
	}
	want(0, 0)
	claims := a.takeAll(ids[:8])
	b.takeAll(ids[8:])
	want(8, 4)
	late := c.join("late", NodeOptions{})
	late.awaitCount("a", 8)
	late.awaitCount("b", 4)

	c.must("release", a.Release(c.ctx, claims[0]))
	c.must("done", a.Done(c.ctx, claims[1]))
	c.must("delete", c.client.DeleteTask(c.ctx, ids[2]))
	want(5, 4)
	b.take(ids[0])
	want(5, 5)
	c.resubmit(ids[3])
	want(4, 5)
}

// All nodes and clients see what a node tells of itself; "Backends store 1"
// where the weight was left 0.
func labelsAndWeightAreSeenByAll(c *cluster) {
	labels := map[string]string{"zone": "é/1", "": "empty key", "empty": ""}
	a := c.join("a", NodeOptions{Labels: labels, Weight: 2.5})
	b := c.join("b", NodeOptions{})
	a.awaitNodes("a", "b")
	b.awaitNodes("a", "b")
	listed, err := c.client.Nodes(c.ctx)
	c.must("list nodes", err)
	for _, view := range [][]metafora.Node{a.state().Nodes(), b.state().Nodes(), listed} {
		if len(view) != 2 {
			c.t.Fatalf("%d nodes, want 2: %+v", len(view), view)
		}
		if !maps.Equal(view[0].Labels, labels) || view[0].Weight != 2.5 || !view[0].Accepting {
			c.t.Errorf("node a is seen as %+v", view[0])
		}
		if len(view[1].Labels) != 0 || view[1].Weight != 1 || !view[1].Accepting {
			c.t.Errorf("node b is seen as %+v", view[1])
		}
	}
}

// "it does from Init on".
func acceptingIsSeenByAll(c *cluster) {
	a, b := c.join("a", NodeOptions{Weight: 3}), c.join("b", NodeOptions{})
	b.awaitNodes("a", "b")
	want := func(accepting bool) {
		c.t.Helper()
		for _, n := range []*node{a, b} {
			s := n.state()
			c.await(fmt.Sprintf("node %q knows that accepting of node a is %t", n.name, accepting), func() bool {
				nodes := s.Nodes()
				return len(nodes) == 2 && nodes[0].Accepting == accepting && nodes[0].Weight == 3 && nodes[1].Accepting
			})
		}
		listed, err := c.client.Nodes(c.ctx)
		c.must("list nodes", err)
		if len(listed) != 2 || listed[0].Accepting != accepting || !listed[1].Accepting {
			c.t.Fatalf("the client sees %+v, want accepting of node a to be %t", listed, accepting)
		}
	}
	want(true)
	for _, accepting := range []bool{false, false, true, true} {
		c.must("set accepting", a.SetAccepting(c.ctx, accepting))
		want(accepting)
	}
}

// "It fails with ErrNodeExists while a live node has this name"; the live node
// does not notice.
func nameOfALiveNodeIsTaken(c *cluster) {
	c.submit("t-1", "t-2")
	a := c.join("node-a", NodeOptions{})
	claim := a.take("t-1")
	second := c.open("node-a", NodeOptions{})
	c.wantError("init of a second node of one name", second.init(), metafora.ErrNodeExists, "node-a")
	if _, err := second.Claim(c.ctx, metafora.NewTask("t-2")); err == nil {
		c.t.Error("a node that could not join claims tasks")
	}
	c.must("close of a node that could not join", second.close())

	c.wantOwner(claim)
	c.command("node-a", metafora.Freeze())
	a.wantCommand(metafora.Freeze())
	a.take("t-2")
	if nodes, err := c.client.Nodes(c.ctx); err != nil || len(nodes) != 1 {
		c.t.Errorf("nodes are %+v (error %v), want the first one", nodes, err)
	}
	if len(c.journal.since(0, a.said(lost))) > 0 {
		c.t.Error("the first node lost claims")
	}
}

func oneOfManyTakesAName(c *cluster) {
	nodes := make([]*node, 8)
	for i := range nodes {
		nodes[i] = c.open("same", NodeOptions{})
	}
	joined := 0
	for _, err := range c.race(len(nodes), func(i int) error { return nodes[i].init() }) {
		if err == nil {
			joined++
			continue
		}
		c.wantError("init of a contested name", err, metafora.ErrNodeExists, "same")
	}
	if joined != 1 {
		c.t.Fatalf("%d nodes of one name have joined", joined)
	}
}

func nameIsFreeAfterClose(c *cluster) {
	c.submit("t-1", "t-2")
	for range 3 {
		n := c.join("a", NodeOptions{})
		c.must("release", n.Release(c.ctx, n.take("t-1")))
		c.must("close", n.close())
	}
	holder := c.join("a", NodeOptions{})
	holder.take("t-1")
	c.must("close of a node that owns a task", holder.close())
	c.join("a", NodeOptions{}).take("t-2")
}

// "after a crash a restarted node may take its own name back once the old lease
// is gone", and its tasks with it.
func nameIsFreeAfterDeath(c *cluster) {
	c.need("Faults.Kill", c.Faults.Kill != nil)
	c.submit("t")
	a := c.join("a", c.shortLived())
	old := a.take("t")
	c.kill(a)
	taken := c.open("a", NodeOptions{})
	c.wantError("init while the lease of the dead node lasts", taken.init(), metafora.ErrNodeExists, "a")
	var again *node
	c.await("the name of a dead node is free", func() bool {
		again = c.open("a", NodeOptions{})
		err := again.init()
		if err == nil {
			return true
		}
		c.wantError("init while the lease of the dead node lasts", err, metafora.ErrNodeExists, "a")
		time.Sleep(c.h.TTL / 10) // spares the broker most of the attempts
		return false
	})
	again.watch()
	if claim := again.take("t"); claim.Fence <= old.Fence {
		c.t.Fatalf("fence %d after fence %d", claim.Fence, old.Fence)
	}
}

// A node whose lease has ended is no live node, and owns nothing.
func deadNodeLeaves(c *cluster) {
	c.submit("t")
	a := c.join("a", c.shortLived())
	b := c.join("b", NodeOptions{})
	a.take("t")
	b.awaitCount("a", 1)
	b.awaitNodes("a", "b")
	mark := c.journal.mark()
	c.kill(a)
	b.awaitNodes("b")
	b.awaitCount("a", 0)
	c.awaitEvent(mark, "ClusterChanged when a node died", b.said(changed))
	err := c.client.SubmitCommand(c.ctx, "a", metafora.Freeze())
	c.wantError("command to a dead node", err, metafora.ErrNoNode, "a")
	if nodes, err := c.client.Nodes(c.ctx); err != nil || !slices.Equal(namesOf(nodes), []string{"b"}) {
		c.t.Fatalf("nodes are %+v (error %v), want b", nodes, err)
	}
}

// "All methods are safe for concurrent use": what a node knows is read while it
// changes. What the race detector does not see shows in the end.
func clusterIsReadConcurrently(c *cluster) {
	ids := numbered("t", 40)
	c.submitMany(ids)
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	a.awaitTasks(0, ids)
	a.awaitNodes("a", "b")
	s, lease := a.state(), a.lease()
	c.parallel(len(ids)+8, func(i int) error {
		if i < len(ids) {
			claim, err := a.Claim(c.ctx, metafora.NewTask(ids[i]))
			switch {
			case err != nil || i%4 == 0:
				return err
			case i%4 == 1:
				return a.Release(c.ctx, claim)
			}
			return errors.Join(b.SetAccepting(c.ctx, i%4 == 2), a.Done(c.ctx, claim))
		}
		for range 100 {
			if names := namesOf(s.Nodes()); !slices.Equal(names, []string{"a", "b"}) {
				return fmt.Errorf("nodes are %q", names)
			}
			if n := s.NodeTaskCount("a"); n < 0 || n > len(ids) {
				return fmt.Errorf("node a has %d tasks", n)
			}
			a.Claimable(ids[i%len(ids)])
			if lease.LeaseDeadline().Before(time.Now()) {
				return errors.New("the lease has ended")
			}
		}
		return nil
	})
	a.awaitCount("a", len(ids)/4)
}

func nameNeverChanges(c *cluster) {
	n := c.open("a", NodeOptions{})
	want := func(when string) {
		if n.Name() != "a" {
			c.t.Errorf("%s: the name is %q, want %q", when, n.Name(), "a")
		}
	}
	want("before Init")
	c.must("init", n.init())
	want("after Init")
	c.must("close", n.close())
	want("after Close")
}
