package simtest_test

import (
	"slices"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/simtest"
)

// eager nodes claim whatever they hear of, all at once.
func eager(nodes int) simtest.Config {
	return simtest.Config{
		Nodes:    nodes,
		Balancer: func(metafora.ClusterState) metafora.Balancer { return balance.All() },
	}
}

func runsOn(s *simtest.Sim, id string, nodes ...string) func() bool {
	return func() bool { return slices.Equal(s.Runs(id), nodes) }
}

func runs(s *simtest.Sim, id string) func() bool {
	return func() bool { return len(s.Runs(id)) == 1 }
}

func gone(s *simtest.Sim, id string) func() bool {
	return func() bool { return !s.Exists(id) }
}

// A claim that is sent before the task is done, and arrives after.
func TestClaimAfterDoneDoesNotResurrect(t *testing.T) {
	simtest.Script(t, eager(2), func(s *simtest.Sim) {
		s.Start()
		s.Flow()
		s.Submit("t1")
		late := s.Hold("b", simtest.OpClaim, "t1")
		s.Until("a runs t1", runsOn(s, "t1", "a"))
		s.Return("t1", true)
		s.Until("t1 is done", gone(s, "t1"))
		late.Pass()
		if s.Exists("t1") {
			s.Fatalf("t1 has come back to life")
		}
		s.Settle()
	})
}

// The reply to a claim is lost: the node has the task, and runs it under that
// claim rather than to leave it to its lease, or to try for another.
func TestReplyLostOnClaim(t *testing.T) {
	simtest.Script(t, simtest.Config{Nodes: 2}, func(s *simtest.Sim) {
		s.Start()
		s.Flow()
		s.Submit("t1")
		s.Hold("", simtest.OpClaim, "t1").LoseReply()
		node, fence := s.Owner("t1")
		s.Until("t1 runs", runs(s, "t1"))
		if n, f := s.Owner("t1"); n != node || f != fence {
			s.Fatalf("%s runs t1 by claim %d, but %s had claimed it by %d", n, f, node, fence)
		}
		s.Settle()
	})
}

// The watch tells of a claim before its reply comes.
func TestWatchIsFasterThanTheReplyToAClaim(t *testing.T) {
	simtest.Script(t, simtest.Config{Nodes: 2}, func(s *simtest.Sim) {
		s.Start()
		s.Flow()
		s.Submit("t1")
		claim := s.Hold("", simtest.OpClaim, "t1")
		claim.Answer()
		_, fence := s.Owner("t1")
		s.Flow()
		claim.Pass()
		s.Until("t1 runs", runs(s, "t1"))
		if _, f := s.Owner("t1"); f != fence {
			s.Fatalf("the claim %d was given up for %d", fence, f)
		}
		s.Settle()
	})
}

// A Done that its caller has given up and repeated arrives when the task was
// submitted anew and claimed again.
func TestLateDoneAfterResubmission(t *testing.T) {
	simtest.Script(t, simtest.Config{Nodes: 2}, func(s *simtest.Sim) {
		s.Start()
		s.Flow()
		s.Submit("t1")
		s.Until("t1 runs", runs(s, "t1"))
		s.Return("t1", true)
		late := s.Hold("", simtest.OpDone, "t1")
		late.GiveUp()
		s.Until("t1 is done", gone(s, "t1"))
		s.Submit("t1")
		s.Until("the new t1 runs", runs(s, "t1"))
		late.Arrive()
		if !s.Exists("t1") {
			s.Fatalf("the Done of the old t1 has removed the new one")
		}
		s.Settle()
	})
}

// A Release that its caller has given up and repeated arrives when the task was
// claimed again.
func TestStaleRelease(t *testing.T) {
	simtest.Script(t, simtest.Config{Nodes: 2}, func(s *simtest.Sim) {
		s.Start()
		s.Flow()
		s.Submit("t1")
		s.Until("t1 runs", runs(s, "t1"))
		_, first := s.Owner("t1")
		s.Return("t1", false)
		late := s.Hold("", simtest.OpRelease, "t1")
		late.GiveUp()
		s.Until("t1 runs again", func() bool {
			_, fence := s.Owner("t1")
			return fence > first && len(s.Runs("t1")) == 1
		})
		_, second := s.Owner("t1")
		late.Arrive()
		if _, fence := s.Owner("t1"); fence != second {
			s.Fatalf("the Release of claim %d has ended claim %d", first, second)
		}
		s.Settle()
	})
}

// The lease goes between two claims being sent in one transaction and its arrival:
// neither takes effect, and both tasks run once the node has joined again.
func TestLeaseExpiresDuringGroupedClaim(t *testing.T) {
	simtest.Script(t, eager(1), func(s *simtest.Sim) {
		s.Start()
		s.Flow()
		s.Submit("t1", "t2", "t3", "t4")
		s.Hold("a", simtest.OpClaim, "t1")
		s.Hold("a", simtest.OpClaim, "t2")
		grouped := s.Hold("a", simtest.OpClaim, "t4")
		s.Revoke("a")
		grouped.Pass()
		if owner, _ := s.Owner("t4"); owner != "" {
			s.Fatalf("t4 is claimed on a lease that is gone")
		}
		s.Until("all run", func() bool {
			return runs(s, "t1")() && runs(s, "t2")() && runs(s, "t3")() && runs(s, "t4")()
		})
		s.Settle()
	})
}

// A client deletes a task that runs: its handler's context ends, nothing of it is
// left, and the next task of that ID is another one.
func TestDeletedWhileRunning(t *testing.T) {
	simtest.Script(t, simtest.Config{Nodes: 2}, func(s *simtest.Sim) {
		s.Start()
		s.Flow()
		s.Submit("t1")
		s.Until("t1 runs", runs(s, "t1"))
		s.Delete("t1")
		if node, _ := s.Owner("t1"); node != "" {
			s.Fatalf("%s still owns t1", node)
		}
		s.Advance(time.Second)
		if nodes := s.Runs("t1"); len(nodes) > 0 {
			s.Fatalf("%s runs a task that was deleted", nodes)
		}
		s.Submit("t1")
		s.Until("the new t1 runs", runs(s, "t1"))
		s.Settle()
	})
}
