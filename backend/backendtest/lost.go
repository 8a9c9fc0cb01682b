package backendtest

import (
	"errors"
	"slices"
	"time"

	"github.com/metafora-go/metafora"
)

func lostChecks() []check {
	return []check{
		{"RevokedLease", revokedLeaseLosesAllClaims},
		{"RejoinsAfterLoss", nodeRejoinsAfterItsLeaseWasLost},
		{"DeletedOwner", deletedOwnerLosesTheClaim},
		{"DeletedTask", deletedTaskLosesTheClaim},
		{"ResubmittedTask", resubmittedTaskLosesTheClaim},
		{"OnceForEachClaim", lostIsCalledOnceForEachClaim},
		{"NotForReleaseOrDone", lostIsNotCalledForReleaseOrDone},
		{"BeforeTheTaskPassesOn", lostComesBeforeTheTaskPassesOn},
		{"ShortPartitionLosesNothing", shortPartitionLosesNothing},
		{"WhileCutOff", whatEndsDuringAPartitionIsLost},
		{"LeaseDeadlineMovesOn", leaseDeadlineMovesOn},
	}
}

func revokedLeaseLosesAllClaims(c *cluster) {
	c.need("Faults.RevokeLease", c.Faults.RevokeLease != nil)
	ids := numbered("t", 10)
	c.submit(ids...)
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	stale := a.takeAll(ids)
	mark := c.journal.mark()
	c.Faults.RevokeLease(c.t, "a")
	b.awaitTasks(mark, ids)
	for _, claim := range stale {
		a.awaitLost(claim)
	}
	current := b.takeAll(ids[:5])
	for i, claim := range current {
		c.wantError("release of a lost claim", a.Release(c.ctx, stale[i]), metafora.ErrNotOwner, ids[i])
		c.wantError("done of a lost claim", a.Done(c.ctx, stale[i]), metafora.ErrNotOwner, ids[i])
		c.wantOwner(claim)
	}
}

// A node that lost its lease but is well comes back with a new one, as the node
// that it was, and may claim what it lost.
func nodeRejoinsAfterItsLeaseWasLost(c *cluster) {
	c.need("Faults.RevokeLease", c.Faults.RevokeLease != nil)
	c.submit("t", "other")
	a := c.join("a", NodeOptions{Labels: map[string]string{"zone": "1"}, Weight: 2})
	b := c.join("b", NodeOptions{})
	c.must("set accepting", a.SetAccepting(c.ctx, false))
	old := a.take("t")
	mark := c.journal.mark()
	c.Faults.RevokeLease(c.t, "a")
	a.awaitLost(old)
	a.awaitTask(mark, "t")
	again := a.take("t")
	if again.Fence <= old.Fence {
		c.t.Fatalf("fence %d after fence %d", again.Fence, old.Fence)
	}
	c.wantOwner(again)
	c.await("the node is back in the cluster", func() bool {
		nodes, err := c.client.Nodes(c.ctx)
		c.must("list nodes", err)
		return slices.Equal(namesOf(nodes), []string{"a", "b"}) && !nodes[0].Accepting &&
			nodes[0].Weight == 2 && nodes[0].Labels["zone"] == "1"
	})
	b.awaitNodes("a", "b")
	c.command("a", metafora.Balance())
	a.wantCommand(metafora.Balance())
	c.must("done", a.Done(c.ctx, again))
	if l, ok := a.Coordinator.(metafora.LeaseHolder); ok && !l.LeaseDeadline().After(time.Now()) {
		c.t.Errorf("the deadline of the new lease has passed: %v", l.LeaseDeadline())
	}
}

func deletedOwnerLosesTheClaim(c *cluster) {
	c.need("Faults.DeleteOwner", c.Faults.DeleteOwner != nil)
	c.submit("t", "other")
	a := c.join("a", NodeOptions{})
	old, other := a.take("t"), a.take("other")
	mark := c.journal.mark()
	c.Faults.DeleteOwner(c.t, "t")
	if e := a.awaitLost(old); !errors.Is(e.cause, metafora.ErrNotOwner) {
		c.t.Errorf("Lost was called with the cause %v, want one that wraps %q", e.cause, metafora.ErrNotOwner)
	}
	a.awaitTask(mark, "t")
	if again := a.take("t"); again.Fence <= old.Fence {
		c.t.Fatalf("fence %d after fence %d", again.Fence, old.Fence)
	}
	c.wantOwner(other)
	if e := c.journal.since(0, a.said(lost, "other")); len(e) > 0 {
		c.t.Fatalf("a claim that is current was reported lost: %v", e[0].cause)
	}
}

func deletedTaskLosesTheClaim(c *cluster) {
	c.submit("t")
	a := c.join("a", NodeOptions{})
	claim := a.take("t")
	c.must("delete", c.client.DeleteTask(c.ctx, "t"))
	if e := a.awaitLost(claim); !errors.Is(e.cause, metafora.ErrNotOwner) {
		c.t.Errorf("Lost was called with the cause %v, want one that wraps %q", e.cause, metafora.ErrNotOwner)
	}
}

func resubmittedTaskLosesTheClaim(c *cluster) {
	c.submit("t")
	a := c.join("a", NodeOptions{})
	claim := a.take("t")
	mark := c.journal.mark()
	c.resubmit("t")
	a.awaitLost(claim)
	a.awaitTask(mark, "t")
	c.wantWaiting("t")
}

// "It is called once for a claim that ends otherwise than by Release or Done."
// More than once is found at the end of every check.
func lostIsCalledOnceForEachClaim(c *cluster) {
	c.need("Faults.RevokeLease", c.Faults.RevokeLease != nil)
	ids := numbered("t", 60)
	c.submitMany(ids)
	a := c.join("a", NodeOptions{})
	claims := a.takeAll(ids)
	c.parallel(21, func(i int) error {
		if i == 20 {
			c.Faults.RevokeLease(c.t, "a")
			return nil
		}
		return c.client.DeleteTask(c.ctx, ids[i])
	})
	for _, claim := range claims {
		a.awaitLost(claim)
	}
	c.grace()
}

func lostIsNotCalledForReleaseOrDone(c *cluster) {
	ids := numbered("t", 30)
	c.submitMany(ids)
	c.submit("marker")
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	claims := a.takeAll(ids)
	c.parallel(len(ids), func(i int) error {
		if i%2 == 0 {
			return a.Done(c.ctx, claims[i])
		}
		return a.Release(c.ctx, claims[i])
	})
	for i, id := range ids {
		if i%2 == 1 {
			c.must("done", b.Done(c.ctx, b.take(id)))
		}
	}
	marker := a.take("marker")
	c.must("delete", c.client.DeleteTask(c.ctx, "marker"))
	a.awaitLost(marker)
	c.grace()
	if e := c.journal.since(0, a.said(lost, ids...)); len(e) > 0 {
		c.t.Fatalf("%v was reported lost, which was released or done", e[0].claim)
	}
}

// "and before the broker can give the task to another node whenever the node was
// able to run": a node that is cut off gives up before another can claim, says
// so with ErrLeaseLost, and claims nothing until it is back.
func lostComesBeforeTheTaskPassesOn(c *cluster) {
	f := c.Faults
	c.need("Faults.Partition and Heal", f.Partition != nil && f.Heal != nil)
	ids := numbered("t", 5)
	c.submit(ids...)
	c.submit("free")
	a, b := c.join("a", c.shortLived()), c.join("b", NodeOptions{})
	free := a.awaitTask(0, "free")
	stale := a.takeAll(ids)
	mark := c.journal.mark()
	f.Partition(c.t, "a")
	trusted := time.Now()
	if l, ok := a.Coordinator.(metafora.LeaseHolder); ok {
		trusted = l.LeaseDeadline()
	}
	for _, claim := range stale {
		e := a.awaitLost(claim)
		if !errors.Is(e.cause, metafora.ErrLeaseLost) {
			c.t.Errorf("Lost was called with the cause %v, want one that wraps %q", e.cause, metafora.ErrLeaseLost)
		}
		if e.at.Before(trusted) {
			c.t.Errorf("%v was reported lost %v before the lease's deadline", claim, trusted.Sub(e.at))
		}
	}
	_, err := a.Claim(c.ctx, free)
	c.wantError("claim without a lease", err, metafora.ErrLeaseLost, "free")

	b.awaitTasks(mark, ids)
	for _, id := range ids {
		gaveUp := c.journal.position(mark, a.said(lost, id))
		passedOn := c.journal.position(mark, b.said(announced, id))
		if passedOn < gaveUp {
			c.t.Errorf("task %q was announced to another node before its owner was told that it is lost", id)
		}
	}
	current := b.take(ids[0])
	f.Heal(c.t, "a")
	a.take(ids[1])
	c.wantError("release of a lost claim", a.Release(c.ctx, stale[0]), metafora.ErrNotOwner, ids[0])
	c.wantError("done of a lost claim", a.Done(c.ctx, stale[1]), metafora.ErrNotOwner, ids[1])
	c.wantOwner(current)
}

// A partition that ends before the lease's deadline costs nothing: the claims
// are kept, and renewed from then on.
func shortPartitionLosesNothing(c *cluster) {
	f := c.Faults
	c.need("Faults.Partition and Heal", f.Partition != nil && f.Heal != nil)
	c.submit("t")
	a := c.join("a", c.shortLived())
	claim := a.take("t")
	f.Partition(c.t, "a")
	time.Sleep((c.h.TTL - c.h.Margin) / 4)
	f.Heal(c.t, "a")
	time.Sleep(2 * c.h.TTL) // would end a lease that is not renewed
	c.wantOwner(claim)
	if e := c.journal.since(0, a.said(lost)); len(e) > 0 {
		c.t.Fatalf("%v was reported lost: %v", e[0].claim, e[0].cause)
	}
	c.must("done", a.Done(c.ctx, claim))
}

// What others end while a node is cut off is lost as soon as it is back.
func whatEndsDuringAPartitionIsLost(c *cluster) {
	f := c.Faults
	c.need("Faults.Partition and Heal", f.Partition != nil && f.Heal != nil)
	c.submit("deleted", "replaced", "kept")
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	deleted, replaced, kept := a.take("deleted"), a.take("replaced"), a.take("kept")
	f.Partition(c.t, "a")
	mark := c.journal.mark()
	c.must("delete", c.client.DeleteTask(c.ctx, "deleted"))
	c.resubmit("replaced")
	b.awaitTask(mark, "replaced")
	current := b.take("replaced")
	f.Heal(c.t, "a")
	a.awaitLost(deleted)
	a.awaitLost(replaced)
	c.wantOwner(current)
	c.wantOwner(kept)
	c.must("done", a.Done(c.ctx, kept))
}

// "The time moves on with each renewal", and the claims stay.
func leaseDeadlineMovesOn(c *cluster) {
	c.submit("t")
	a := c.join("a", c.shortLived())
	claim := a.take("t")
	lease := a.lease()
	for range 3 {
		deadline := lease.LeaseDeadline()
		if !deadline.After(time.Now()) {
			c.t.Fatalf("the deadline has passed by %v", time.Since(deadline))
		}
		c.await("the lease's deadline moves on", func() bool { return lease.LeaseDeadline().After(deadline) })
	}
	c.wantOwner(claim)
}
