package backendtest

import (
	"fmt"
	"slices"

	"github.com/metafora-go/metafora"
)

func announceChecks() []check {
	return []check{
		{"WaitingTasks", waitingTasksAreAnnounced},
		{"NewTasks", newTasksAreAnnounced},
		{"InOrder", tasksAreAnnouncedInOrder},
		{"NotWhileOwned", ownedTasksAreNotAnnounced},
		{"NotWhenDone", doneTasksAreNotAnnounced},
		{"ToAllNodesAfterRelease", releasedTasksAreAnnouncedToAllNodes},
		{"AfterOwnerDeath", tasksOfDeadNodesAreAnnounced},
		{"AfterOwnerKeyDeleted", tasksWhoseOwnerWasDeletedAreAnnounced},
		{"AfterResubmission", resubmittedTasksAreAnnounced},
		{"ManyTasks", manyTasksAreAnnounced},
		{"SlowReceiver", watchKeepsUpWithASlowReceiver},
		{"NothingMissedBetweenWatches", nothingIsMissedBetweenTwoWatches},
		{"EachWatchAnnouncesAll", eachWatchAnnouncesAllClaimableTasks},
		{"InvalidStoredTask", invalidStoredTasksAreSkipped},
		{"Claimable", claimableFollowsTheTask},
	}
}

// "each task that exists and has no owner at least once": also those that were
// there before the node.
func waitingTasksAreAnnounced(c *cluster) {
	c.submit("w1", "w2", "w3")
	a := c.join("a", NodeOptions{})
	a.awaitTasks(0, []string{"w1", "w2", "w3"})
}

func newTasksAreAnnounced(c *cluster) {
	c.submit("waiting")
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	for _, n := range []*node{a, b} {
		n.awaitTask(0, "waiting") // it watches
	}
	c.submit("n1", "n2")
	for _, n := range []*node{a, b} {
		n.awaitTasks(0, []string{"n1", "n2"})
	}
}

// "in the order in which they became claimable as far as the backend knows it":
// a backend knows the order of what happened while it watched.
func tasksAreAnnouncedInOrder(c *cluster) {
	a := c.join("a", NodeOptions{})
	c.submit("held-1", "held-2")
	first, second := a.take("held-1"), a.take("held-2")
	b := c.join("b", NodeOptions{})
	c.submit("start")
	b.awaitTask(0, "start")
	mark := c.journal.mark()

	c.submit("z", "m")
	c.must("release", a.Release(c.ctx, second))
	c.submit("a")
	c.must("release", a.Release(c.ctx, first))
	c.submit("k")

	want := []string{"z", "m", "held-2", "a", "held-1", "k"}
	b.awaitTasks(mark, want)
	var got []string
	for _, e := range c.journal.since(mark, b.said(announced, want...)) {
		if !slices.Contains(got, e.id) {
			got = append(got, e.id)
		}
	}
	if !slices.Equal(got, want) {
		c.t.Fatalf("announced in the order %q, want %q", got, want)
	}
}

// "announces claimable tasks": those that have an owner are not.
func ownedTasksAreNotAnnounced(c *cluster) {
	owned := numbered("owned", 3)
	c.submit(owned...)
	a := c.join("a", NodeOptions{})
	a.takeAll(owned)
	b := c.join("b", NodeOptions{})
	c.submit("free")
	b.awaitTask(0, "free")
	c.grace()
	if e := c.journal.since(0, b.said(announced, owned...)); len(e) > 0 {
		c.t.Fatalf("task %q was announced although it has an owner", e[0].id)
	}
}

func doneTasksAreNotAnnounced(c *cluster) {
	c.submit("done", "deleted")
	a := c.join("a", NodeOptions{})
	c.must("done", a.Done(c.ctx, a.take("done")))
	c.must("delete", c.client.DeleteTask(c.ctx, "deleted"))
	b := c.join("b", NodeOptions{})
	a.awaitClaimable("done", false)
	a.awaitClaimable("deleted", false)
	mark := c.journal.mark()
	c.submit("marker")
	a.awaitTask(mark, "marker")
	b.awaitTask(mark, "marker")
	c.grace()
	for _, n := range []*node{a, b} {
		if e := c.journal.since(mark, n.said(announced, "done", "deleted")); len(e) > 0 {
			c.t.Fatalf("task %q was announced to node %q although it is gone", e[0].id, n.name)
		}
	}
}

// "again whenever it loses its owner", and "announced to all nodes": the one
// that released it too.
func releasedTasksAreAnnouncedToAllNodes(c *cluster) {
	c.submit("t")
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	for range 3 {
		claim := a.take("t")
		b.awaitClaimable("t", false)
		mark := c.journal.mark()
		c.must("release", a.Release(c.ctx, claim))
		a.awaitTask(mark, "t")
		b.awaitTask(mark, "t")
	}
}

func tasksOfDeadNodesAreAnnounced(c *cluster) {
	ids := numbered("t", 5)
	c.submit(ids...)
	a, b := c.join("a", c.shortLived()), c.join("b", NodeOptions{})
	b.awaitTasks(0, ids)
	claims := a.takeAll(ids)
	b.awaitClaimable(ids[4], false)
	mark := c.journal.mark()
	c.kill(a)
	b.awaitTasks(mark, ids)
	for i, id := range ids {
		if now := b.take(id); now.Fence <= claims[i].Fence {
			c.t.Errorf("task %q: fence %d after fence %d", id, now.Fence, claims[i].Fence)
		}
	}
}

func tasksWhoseOwnerWasDeletedAreAnnounced(c *cluster) {
	c.need("Faults.DeleteOwner", c.Faults.DeleteOwner != nil)
	c.submit("t")
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	a.take("t")
	b.awaitClaimable("t", false)
	mark := c.journal.mark()
	c.Faults.DeleteOwner(c.t, "t")
	a.awaitTask(mark, "t")
	b.awaitTask(mark, "t")
}

// "and again when it is submitted anew".
func resubmittedTasksAreAnnounced(c *cluster) {
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	c.submit("deleted", "finished")
	a.awaitTask(0, "deleted")
	b.awaitTask(0, "deleted")

	mark := c.journal.mark()
	c.resubmit("deleted")
	a.awaitTask(mark, "deleted")
	b.awaitTask(mark, "deleted")

	c.must("done", a.Done(c.ctx, a.take("finished")))
	mark = c.journal.mark()
	c.submit("finished")
	a.awaitTask(mark, "finished")
	b.awaitTask(mark, "finished")
}

// Half of the tasks wait for the node, in more than one page of any list, half
// arrive while it is watching.
func manyTasksAreAnnounced(c *cluster) {
	ids := numbered("t", 5000)
	c.submitMany(ids[:2500])
	a := c.join("a", NodeOptions{})
	c.submitMany(ids[2500:])
	a.awaitTasks(0, ids)
}

// "A send on tasks may block for long; Watch must keep up with the broker
// meanwhile": nobody receives, and the node still knows what it can claim, gets
// its commands, and keeps its lease.
func watchKeepsUpWithASlowReceiver(c *cluster) {
	a := c.joinBlind("a", NodeOptions{})
	tasks := make(chan metafora.Task)
	w := a.watchInto(tasks)
	b := c.join("b", NodeOptions{})
	ids := numbered("t", 300)
	c.submit(ids[:3]...)
	c.submitMany(ids[3:])
	for _, claim := range b.takeAll(ids[:100]) {
		c.must("done", b.Done(c.ctx, claim))
	}
	held := b.take(ids[100])
	for i, id := range ids {
		a.awaitClaimable(id, i > 100)
	}
	c.must("submit a command", c.client.SubmitCommand(c.ctx, "a", metafora.Balance()))
	if _, err := a.command(); err != nil {
		c.t.Fatalf("command while a task waits to be received: %v", err)
	}

	c.must("release", b.Release(c.ctx, held))
	a.note(tasks, w)
	a.awaitTasks(0, ids[100:])
	if _, err := a.Claim(c.ctx, metafora.NewTask(ids[299])); err != nil {
		c.t.Fatalf("claim: %v", err)
	}
}

// What became claimable after a Watch ended is announced by the next one.
func nothingIsMissedBetweenTwoWatches(c *cluster) {
	c.submit("held", "waiting")
	a := c.joinBlind("a", NodeOptions{})
	w := a.watch()
	held := a.take("held")
	c.must("first Watch", w.stop(c))

	c.submit("new", "replaced")
	c.must("release", a.Release(c.ctx, held))
	c.resubmit("replaced")
	mark := c.journal.mark()
	a.watch()
	a.awaitTasks(mark, []string{"new", "held", "replaced"})
}

// "each task that exists and has no owner": also those that an earlier Watch
// announced and nobody claimed.
func eachWatchAnnouncesAllClaimableTasks(c *cluster) {
	c.submit("t1", "t2")
	a := c.joinBlind("a", NodeOptions{})
	w := a.watch()
	a.awaitTasks(0, []string{"t1", "t2"})
	c.must("first Watch", w.stop(c))
	mark := c.journal.mark()
	a.watch()
	a.awaitTasks(mark, []string{"t1", "t2"})
}

// A value that no backend has written must not stop a node, waiting or live.
func invalidStoredTasksAreSkipped(c *cluster) {
	put := c.Faults.PutRawTask
	c.need("Faults.PutRawTask", put != nil)
	values := []string{"", "{", "null", "[]", `"text"`, `{"props":`, "\x00\xff"}
	for i, v := range values {
		put(c.t, fmt.Sprintf("early-%d", i), []byte(v))
	}
	c.submit("t1")
	a := c.join("a", NodeOptions{})
	a.awaitTask(0, "t1")
	for i, v := range values {
		put(c.t, fmt.Sprintf("late-%d", i), []byte(v))
	}
	c.submit("t2")
	a.awaitTask(0, "t2")
	c.must("done", a.Done(c.ctx, a.take("t2")))
}

// "whether the task of this ID exists and has no owner".
func claimableFollowsTheTask(c *cluster) {
	c.submit("t")
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	for _, n := range []*node{a, b} {
		n.awaitClaimable("t", true)
		n.awaitClaimable("unknown", false)
	}
	claim := a.take("t")
	if a.Claimable("t") {
		c.t.Fatal("Claimable is true right after the node itself claimed the task")
	}
	b.awaitClaimable("t", false)
	c.must("release", a.Release(c.ctx, claim))
	a.awaitClaimable("t", true)
	b.awaitClaimable("t", true)
	c.must("done", b.Done(c.ctx, b.take("t")))
	a.awaitClaimable("t", false)
	b.awaitClaimable("t", false)
	c.submit("t")
	a.awaitClaimable("t", true)
	c.must("delete", c.client.DeleteTask(c.ctx, "t"))
	a.awaitClaimable("t", false)
}
