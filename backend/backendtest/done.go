package backendtest

import (
	"errors"

	"github.com/metafora-go/metafora"
)

func doneChecks() []check {
	return []check{
		{"RemovesTheTask", doneRemovesTheTask},
		{"RepeatedChangesNothing", repeatedDoneChangesNothing},
		{"Concurrently", concurrentDonesAreDoneOnce},
		{"OfLostClaimTouchesNothing", doneOfLostClaimTouchesNothing},
		{"OfUnknownClaimTouchesNothing", doneOfUnknownClaimTouchesNothing},
		{"OfResubmittedTaskTouchesNothing", doneOfResubmittedTaskTouchesNothing},
		{"RacingReleaseHasOneWinner", doneRacingReleaseHasOneWinner},
		{"LostReplyIsSettled", doneWhoseReplyWasLostIsSettled},
	}
}

func doneRemovesTheTask(c *cluster) {
	c.submit("t", "other")
	a := c.join("a", NodeOptions{})
	c.must("done", a.Done(c.ctx, a.take("t")))
	c.wantGone("t")
	c.wantWaiting("other")
	c.submit("t")
	c.wantOwner(a.take("t"))
}

// "Repeating it changes nothing": not even a new task of the same ID.
func repeatedDoneChangesNothing(c *cluster) {
	c.submit("t")
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	claim := a.take("t")
	c.must("done", a.Done(c.ctx, claim))
	c.wantRepeated("done again", a.Done(c.ctx, claim))
	c.wantGone("t")

	mark := c.journal.mark()
	c.submit("t")
	c.wantRepeated("done again, submitted anew", a.Done(c.ctx, claim))
	c.wantWaiting("t")

	b.awaitTask(mark, "t")
	second := b.take("t")
	c.wantRepeated("done again, claimed anew", a.Done(c.ctx, claim))
	c.wantOwner(second)
}

func concurrentDonesAreDoneOnce(c *cluster) {
	c.submit("t")
	a := c.join("a", NodeOptions{})
	claim := a.take("t")
	for _, err := range c.race(8, func(int) error { return a.Done(c.ctx, claim) }) {
		c.wantRepeated("concurrent done", err)
	}
	c.wantGone("t")
}

// "ErrNotOwner: c is not current; nothing was touched."
func doneOfLostClaimTouchesNothing(c *cluster) {
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	stale, current := c.lostClaim(a, b, "t-1")
	c.wantError("done of a lost claim", a.Done(c.ctx, stale), metafora.ErrNotOwner, "t-1")
	c.wantOwner(current)

	c.must("release", b.Release(c.ctx, current))
	c.wantError("done of a lost claim", a.Done(c.ctx, stale), metafora.ErrNotOwner, "t-1")
	c.wantWaiting("t-1")
}

func doneOfUnknownClaimTouchesNothing(c *cluster) {
	c.submit("t-1", "t-2")
	a := c.join("a", NodeOptions{})
	claim := a.take("t-1")
	for _, unknown := range unknownClaims(claim, "t-2") {
		c.wantError("done of a claim that never was", a.Done(c.ctx, unknown), metafora.ErrNotOwner, unknown.TaskID)
	}
	c.wantOwner(claim)
	c.wantWaiting("t-2")
	c.wantGone("ghost")
}

// A task that was deleted and submitted anew while it ran is another task.
func doneOfResubmittedTaskTouchesNothing(c *cluster) {
	c.submit("t-1")
	a := c.join("a", NodeOptions{})
	stale := a.take("t-1")
	c.must("delete", c.client.DeleteTask(c.ctx, "t-1"))
	c.wantError("done of a deleted task", a.Done(c.ctx, stale), metafora.ErrNotOwner, "t-1")
	c.submit("t-1")
	c.wantError("done of a re-submitted task", a.Done(c.ctx, stale), metafora.ErrNotOwner, "t-1")
	c.wantWaiting("t-1")
	second := a.take("t-1")
	c.wantError("done of a re-submitted task that runs", a.Done(c.ctx, stale), metafora.ErrNotOwner, "t-1")
	c.wantOwner(second)
}

// Release and Done of one claim at once: the first ends the claim, and the other
// changes nothing.
func doneRacingReleaseHasOneWinner(c *cluster) {
	ids := numbered("t", 50)
	c.submitMany(ids)
	a := c.join("a", NodeOptions{})
	claims := a.takeAll(ids)
	errs := c.race(2*len(ids), func(i int) error {
		if i%2 == 0 {
			return a.Done(c.ctx, claims[i/2])
		}
		return a.Release(c.ctx, claims[i/2])
	})
	for i, id := range ids {
		done, release := errs[2*i], errs[2*i+1]
		c.wantRepeated("done", done)
		c.wantRepeated("release", release)
		if done != nil && release != nil {
			c.t.Fatalf("task %q: neither Done nor Release succeeded: %v, %v", id, done, release)
		}
		_, err := c.client.Task(c.ctx, id)
		switch gone := errors.Is(err, metafora.ErrNoTask); {
		case gone && done != nil:
			c.t.Fatalf("task %q is gone although Done returned %v", id, done)
		case !gone && release != nil:
			c.t.Fatalf("task %q is there although Release returned %v", id, release)
		case !gone && done == nil:
			c.t.Fatalf("task %q is there although Done returned no error", id)
		case !gone:
			c.wantWaiting(id)
		}
	}
}

func doneWhoseReplyWasLostIsSettled(c *cluster) {
	c.need("Faults.LoseReply", c.Faults.LoseReply != nil)
	c.submit("t")
	a := c.join("a", NodeOptions{})
	claim := a.take("t")
	c.Faults.LoseReply(c.t, "a")
	c.must("done whose reply is lost", a.Done(c.ctx, claim))
	c.wantGone("t")
}
