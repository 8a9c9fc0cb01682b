package backendtest

import (
	"github.com/metafora-go/metafora"
)

func releaseChecks() []check {
	return []check{
		{"GivesTheTaskUp", releaseGivesTheTaskUp},
		{"RepeatedChangesNothing", repeatedReleaseChangesNothing},
		{"Concurrently", concurrentReleasesReleaseOnce},
		{"OfLostClaimTouchesNothing", releaseOfLostClaimTouchesNothing},
		{"OfUnknownClaimTouchesNothing", releaseOfUnknownClaimTouchesNothing},
		{"OfResubmittedTaskTouchesNothing", releaseOfResubmittedTaskTouchesNothing},
		{"LostReplyIsSettled", releaseWhoseReplyWasLostIsSettled},
	}
}

func releaseGivesTheTaskUp(c *cluster) {
	c.submit("t")
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	c.must("release", a.Release(c.ctx, a.take("t")))
	c.wantWaiting("t")
	c.wantOwner(b.take("t"))
}

// "Releasing again changes nothing": neither a waiting task, nor one that
// another node or the same node has claimed since.
func repeatedReleaseChangesNothing(c *cluster) {
	c.submit("t")
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	first := a.take("t")
	c.must("release", a.Release(c.ctx, first))
	c.wantRepeated("release again", a.Release(c.ctx, first))
	c.wantWaiting("t")

	second := b.take("t")
	c.wantRepeated("release again, claimed by another node", a.Release(c.ctx, first))
	c.wantOwner(second)

	c.must("release", b.Release(c.ctx, second))
	third := a.take("t")
	c.wantRepeated("release again, claimed by the same node", a.Release(c.ctx, first))
	c.wantOwner(third)

	c.must("done", a.Done(c.ctx, third))
	c.wantRepeated("release of a task that is done", a.Release(c.ctx, third))
	c.wantGone("t")
}

func concurrentReleasesReleaseOnce(c *cluster) {
	c.submit("t")
	a := c.join("a", NodeOptions{})
	claim := a.take("t")
	for _, err := range c.race(8, func(int) error { return a.Release(c.ctx, claim) }) {
		c.wantRepeated("concurrent release", err)
	}
	c.wantWaiting("t")
	c.wantOwner(a.take("t"))
}

// "ErrNotOwner: c is not current; nothing was touched."
func releaseOfLostClaimTouchesNothing(c *cluster) {
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	stale, current := c.lostClaim(a, b, "t-1")
	c.wantError("release of a lost claim", a.Release(c.ctx, stale), metafora.ErrNotOwner, "t-1")
	c.wantOwner(current)
}

func releaseOfUnknownClaimTouchesNothing(c *cluster) {
	c.submit("t-1", "t-2")
	a := c.join("a", NodeOptions{})
	claim := a.take("t-1")
	for _, unknown := range unknownClaims(claim, "t-2") {
		c.wantError("release of a claim that never was", a.Release(c.ctx, unknown), metafora.ErrNotOwner, unknown.TaskID)
	}
	c.wantOwner(claim)
	c.wantWaiting("t-2")
	c.wantGone("ghost")
}

func releaseOfResubmittedTaskTouchesNothing(c *cluster) {
	c.submit("t-1")
	a := c.join("a", NodeOptions{})
	stale := a.take("t-1")
	c.must("delete", c.client.DeleteTask(c.ctx, "t-1"))
	c.wantError("release of a deleted task", a.Release(c.ctx, stale), metafora.ErrNotOwner, "t-1")
	c.wantGone("t-1")
	c.submit("t-1")
	c.wantError("release of a re-submitted task", a.Release(c.ctx, stale), metafora.ErrNotOwner, "t-1")
	c.wantWaiting("t-1")
}

func releaseWhoseReplyWasLostIsSettled(c *cluster) {
	c.need("Faults.LoseReply", c.Faults.LoseReply != nil)
	c.submit("t")
	a := c.join("a", NodeOptions{})
	claim := a.take("t")
	c.Faults.LoseReply(c.t, "a")
	c.must("release whose reply is lost", a.Release(c.ctx, claim))
	c.wantWaiting("t")
}

// lostClaim submits a task and lets first have a claim of it that it then loses
// to second. It returns both claims. Without faults the task is lost by being
// submitted anew.
func (c *cluster) lostClaim(first, second *node, id string) (stale, current metafora.Claim) {
	c.t.Helper()
	c.submit(id)
	stale = first.take(id)
	second.awaitClaimable(id, false)
	mark := c.journal.mark()
	if c.Faults.DeleteOwner != nil {
		c.Faults.DeleteOwner(c.t, id)
	} else {
		c.resubmit(id)
	}
	second.awaitTask(mark, id)
	return stale, second.take(id)
}

// unknownClaims returns claims that never were: of the task of a current claim,
// of a task that waits, and of one that does not exist.
func unknownClaims(current metafora.Claim, waiting string) []metafora.Claim {
	older, newer := current, current
	older.Fence--
	newer.Fence++
	return []metafora.Claim{
		older, newer,
		{TaskID: current.TaskID, Node: current.Node},
		{TaskID: waiting, Node: current.Node, Fence: current.Fence},
		{TaskID: waiting, Node: current.Node},
		{TaskID: "ghost", Node: current.Node, Fence: current.Fence},
		{TaskID: "ghost", Node: current.Node},
	}
}
