package simtest_test

import (
	"context"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/simtest"
)

// slow handlers take no notice of their contexts while they are at their gate.
func slow(s *simtest.Sim) metafora.HandlerFunc {
	return metafora.SimpleHandler(func(ctx context.Context, _ metafora.Task, stop <-chan struct{}) bool {
		select {
		case <-stop:
		case <-ctx.Done():
		}
		_ = s.Gate(ctx, "clean up")
		return false
	})
}

// The lease is lost while the handler is slow to leave. Its context ends a margin
// before the lease does; what it says in the end touches no newer claim.
func TestLeaseLostWhileHandlerIsSlow(t *testing.T) {
	onEach(t, eager(2), func(s *simtest.Sim) {
		s.Handle(slow(s))
		s.Start()
		s.Flow()
		s.Deafen("b")
		s.Submit("t1")
		s.Until("a runs t1", runsOn(s, "t1", "a"))
		s.Partition("a")
		old := s.Hold("a", "clean up", "t1")
		if owner, _ := s.Owner("t1"); owner != "a" {
			s.Fatalf("the owner is %q when the handler's context ends", owner)
		}
		s.Hear("b")
		s.Until("b runs t1", runsOn(s, "t1", "b"))
		_, fence := s.Owner("t1")
		s.Heal("a")
		s.Flow()
		old.Pass()
		s.Advance(time.Second)
		if node, f := s.Owner("t1"); node != "b" || f != fence {
			s.Fatalf("b had the claim %d, now %q has %d", fence, node, f)
		}
		s.Settle()
	})
}

// The lease is lost for a moment only, and the node's watch offers it the task
// whose old handler still runs here: it must neither run twice nor be forgotten.
func TestTaskComesBackWhileItsOldHandlerRuns(t *testing.T) {
	simtest.Script(t, eager(1), func(s *simtest.Sim) {
		s.Handle(slow(s))
		s.Start()
		s.Submit("t1")
		s.Until("a runs t1", runsOn(s, "t1", "a"))
		s.Revoke("a")
		old := s.Hold("a", "clean up", "t1")
		s.Advance(time.Second)
		if node, _ := s.Owner("t1"); node != "" {
			s.Fatalf("%s claims t1 while its old handler runs", node)
		}
		old.Pass()
		s.Until("a runs t1 again", runsOn(s, "t1", "a"))
		s.Settle()
	})
}

// A process stands still past the end of its lease, as after SIGSTOP. When it goes
// on, the first thing that it does is to end the contexts of its handlers.
func TestPausedPastItsLease(t *testing.T) {
	simtest.Script(t, simtest.Config{Nodes: 2}, func(s *simtest.Sim) {
		s.Start()
		s.Submit("t1")
		s.Until("t1 runs", runs(s, "t1"))
		first, _ := s.Owner("t1")
		s.Pause(first)
		s.Until("the other runs t1", func() bool {
			node, _ := s.Owner("t1")
			return node != first && runs(s, "t1")()
		})
		s.Resume(first)
		if nodes := s.Runs("t1"); len(nodes) != 1 || nodes[0] == first {
			s.Fatalf("t1 runs on %v after %s has gone on", nodes, first)
		}
		s.Settle()
	})
}

// A node is started again while the lease of the process that had its name lasts:
// it waits, and what that one has claimed is not touched before.
func TestTwoNodesOfOneName(t *testing.T) {
	simtest.Script(t, simtest.Config{Nodes: 1}, func(s *simtest.Sim) {
		s.Start()
		s.Submit("t1")
		s.Until("t1 runs", runs(s, "t1"))
		_, fence := s.Owner("t1")
		s.Crash("a")
		s.Restart("a")
		s.Advance(6 * time.Second)
		if _, f := s.Owner("t1"); f != fence {
			s.Fatalf("the claim %d has ended while its lease lasts", fence)
		}
		s.Until("t1 runs again", runs(s, "t1"))
		s.Settle()
	})
}

// A node that is waiting for its name hears that the lease is gone, and its own
// registration, sent twice, arrives once more after that.
func TestRegistrationArrivesLate(t *testing.T) {
	simtest.Script(t, simtest.Config{Nodes: 1}, func(s *simtest.Sim) {
		s.Start()
		late := s.Hold("a", simtest.OpJoin, "a")
		late.GiveUp()
		s.Submit("t1")
		s.Until("t1 runs", runs(s, "t1"))
		s.Crash("a")
		s.Until("the lease has ended", func() bool { node, _ := s.Owner("t1"); return node == "" })
		s.Restart("a")
		s.Until("t1 runs again", runs(s, "t1"))
		late.Arrive()
		s.Settle()
	})
}

// A handler ignores the shutdown of its node, which leaves it behind: its claim is
// left to the lease, and so does the next process of that name.
func TestShutdownWhileAHandlerIsStuck(t *testing.T) {
	onEach(t, simtest.Config{Nodes: 1}, func(s *simtest.Sim) {
		s.Start()
		s.Submit("t1")
		s.Until("a runs t1", runsOn(s, "t1", "a"))
		_, fence := s.Owner("t1")
		s.Shutdown("a")
		s.Hold("a", simtest.OpReturn, "t1")
		s.Until("a has left", func() bool { return !s.Up("a") })
		s.Restart("a")
		s.Flow()
		if _, f := s.Owner("t1"); f != fence {
			s.Fatalf("the claim %d has ended while its handler runs", fence)
		}
		s.Until("t1 runs again", func() bool { _, f := s.Owner("t1"); return f > fence })
		s.Settle()
	})
}

// A watch tells late of an earlier claim, when the present one is lost and its
// handler is slow to leave: nobody may take that claim for one that nobody runs.
func TestOldNewsOfATaskWhoseClaimIsLost(t *testing.T) {
	simtest.Script(t, eager(1), func(s *simtest.Sim) {
		s.Start()
		s.Submit("t1")
		s.Until("a runs t1", runsOn(s, "t1", "a"))
		s.Deafen("a")
		s.Return("t1", false)
		s.Until("t1 is released", func() bool { node, _ := s.Owner("t1"); return node == "" })
		s.Until("a runs t1 again", runsOn(s, "t1", "a"))
		s.Stall(8500 * time.Millisecond)
		old := s.Hold("a", simtest.OpReturn, "t1")
		s.Hear("a")
		s.Flow()
		old.Pass()
		s.Settle()
	})
}

// The reply to a renewal is long on its way: the lease has run since it was sent.
func TestRenewalIsAnsweredLate(t *testing.T) {
	simtest.Script(t, eager(1), func(s *simtest.Sim) {
		s.Start()
		s.Submit("t1")
		s.Until("a runs t1", runsOn(s, "t1", "a"))
		renewal := s.Hold("a", simtest.OpRenew, "")
		renewal.Answer()
		s.Stall(2 * time.Second)
		renewal.Pass()
		s.Stall(10 * time.Second)
		s.Settle()
	})
}
