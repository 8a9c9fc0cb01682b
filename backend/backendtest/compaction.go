package backendtest

import (
	"slices"

	"github.com/metafora-go/metafora"
)

func compactionChecks() []check {
	return []check{
		{"BeforeInit", compactionBeforeInit},
		{"UnderLiveWatch", compactionUnderALiveWatch},
		{"BehindTheWatch", compactionOfWhatAWatchHasNotSeen},
		{"BehindTheReceiver", compactionWhileATaskWaitsToBeReceived},
		{"KeepsClaims", compactionKeepsClaims},
	}
}

// A node that joins after a compaction sees what is, not what was.
func compactionBeforeInit(c *cluster) {
	c.need("Faults.Compact", c.Faults.Compact != nil)
	ids := numbered("t", 40)
	c.submit(ids...)
	a := c.join("a", NodeOptions{})
	claims := a.takeAll(ids[:20])
	for _, claim := range claims[:10] {
		c.must("done", a.Done(c.ctx, claim))
	}
	c.Faults.Compact(c.t)
	b := c.join("b", NodeOptions{})
	b.awaitTasks(0, ids[20:])
	c.submit("marker")
	b.awaitTask(0, "marker")
	if e := c.journal.since(0, b.said(announced, ids[:20]...)); len(e) > 0 {
		c.t.Fatalf("task %q was announced, which is owned or done", e[0].id)
	}
	c.wantOwner(claims[19])
}

// Nothing is missed when changes and compactions alternate.
func compactionUnderALiveWatch(c *cluster) {
	c.need("Faults.Compact", c.Faults.Compact != nil)
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	ids := numbered("t", 30)
	for i, id := range ids {
		c.submit(id)
		if i%3 == 0 {
			c.Faults.Compact(c.t)
		}
		if i%5 == 0 {
			claim := b.take(id)
			c.Faults.Compact(c.t)
			c.must("release", b.Release(c.ctx, claim))
		}
	}
	c.Faults.Compact(c.t)
	c.command("a", metafora.Freeze())
	a.awaitTasks(0, ids)
	b.awaitTasks(0, ids)
	a.wantCommand(metafora.Freeze())
	for _, id := range ids {
		a.awaitClaimable(id, true)
	}
	a.takeAll(ids)
}

// "When the broker has dropped history that Watch needed, it lists again and
// carries on": a node is cut off for a moment, and what happened meanwhile can
// only be found by listing.
func compactionOfWhatAWatchHasNotSeen(c *cluster) {
	f := c.Faults
	c.need("Faults.Compact, Partition and Heal", f.Compact != nil && f.Partition != nil && f.Heal != nil)
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	leaver := c.join("leaver", NodeOptions{})
	c.submit("waiting", "gone", "replaced", "taken", "freed", "kept", "deleted under a", "replaced under a")
	freed := b.take("freed")
	kept, deleted, replaced := a.take("kept"), a.take("deleted under a"), a.take("replaced under a")
	a.awaitTasks(0, []string{"waiting", "gone", "replaced", "taken"})
	a.awaitNodes("a", "b", "leaver")
	a.awaitClaimable("freed", false)

	f.Partition(c.t, "a")
	mark := c.journal.mark()
	c.submit("new", "new and gone")
	c.must("delete", c.client.DeleteTask(c.ctx, "new and gone"))
	c.must("done", b.Done(c.ctx, b.take("gone")))
	c.resubmit("replaced")
	taken := b.take("taken")
	c.must("release", b.Release(c.ctx, freed))
	c.must("delete", c.client.DeleteTask(c.ctx, "deleted under a"))
	c.resubmit("replaced under a")
	c.must("close", leaver.close())
	newcomer := c.join("newcomer", NodeOptions{})
	c.must("set accepting", b.SetAccepting(c.ctx, false))
	c.command("a", metafora.Drain())
	f.Compact(c.t)
	f.Heal(c.t, "a")

	a.awaitTasks(mark, []string{"new", "replaced", "freed", "replaced under a"})
	for id, want := range map[string]bool{
		"waiting": true, "new": true, "replaced": true, "freed": true, "replaced under a": true,
		"new and gone": false, "gone": false, "taken": false, "kept": false, "deleted under a": false,
	} {
		a.awaitClaimable(id, want)
	}
	a.awaitLost(deleted)
	a.awaitLost(replaced)
	a.awaitNodes("a", "b", "newcomer")
	a.awaitCount("a", 1)
	a.awaitCount("b", 1)
	c.await("node a knows that node b takes no tasks", func() bool {
		return slices.ContainsFunc(a.state().Nodes(), func(n metafora.Node) bool { return n.Name == "b" && !n.Accepting })
	})
	a.wantCommand(metafora.Drain())
	c.wantOwner(kept)
	c.wantOwner(taken)
	c.wantOwner(a.take("replaced"))
	newcomer.awaitClaimable("replaced", false)
	if e := c.journal.since(0, a.said(lost, "kept")); len(e) > 0 {
		c.t.Fatalf("a claim that is current was reported lost: %v", e[0].cause)
	}
}

// A compaction while Watch is blocked in its send.
func compactionWhileATaskWaitsToBeReceived(c *cluster) {
	c.need("Faults.Compact", c.Faults.Compact != nil)
	a := c.joinBlind("a", NodeOptions{})
	tasks := make(chan metafora.Task)
	w := a.watchInto(tasks)
	ids := numbered("t", 50)
	c.submit(ids[:10]...)
	a.awaitClaimable(ids[9], true)
	c.Faults.Compact(c.t)
	c.submit(ids[10:]...)
	c.Faults.Compact(c.t)
	a.awaitClaimable(ids[49], true)
	a.note(tasks, w)
	a.awaitTasks(0, ids)
}

func compactionKeepsClaims(c *cluster) {
	c.need("Faults.Compact", c.Faults.Compact != nil)
	ids := numbered("t", 20)
	c.submit(ids...)
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	claims := a.takeAll(ids)
	c.Faults.Compact(c.t)
	mark := c.journal.mark()
	c.submit("marker")
	a.awaitTask(mark, "marker")
	b.awaitTask(mark, "marker")
	c.grace()
	if e := c.journal.since(0, a.said(lost)); len(e) > 0 {
		c.t.Fatalf("%v was reported lost", e[0].claim)
	}
	for _, claim := range claims {
		c.wantOwner(claim)
		b.awaitClaimable(claim.TaskID, false)
	}
	c.must("release", a.Release(c.ctx, claims[0]))
	b.awaitTask(mark, ids[0])
	c.must("done", a.Done(c.ctx, claims[1]))
	c.wantGone(ids[1])
}
