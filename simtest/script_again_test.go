package simtest_test

import (
	"testing"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/simtest"
)

// onEach plays a script with each backend.
func onEach(t *testing.T, cfg simtest.Config, script func(*simtest.Sim)) {
	t.Helper()
	for _, cfg.Backend = range []simtest.Backend{simtest.Etcd, simtest.Memory} {
		t.Run(string(cfg.Backend), func(t *testing.T) { simtest.Script(t, cfg, script) })
	}
}

// claimedAfter reports whether a task runs under a later claim.
func claimedAfter(s *simtest.Sim, id string, fence uint64) func() bool {
	return func() bool {
		_, f := s.Owner(id)
		return f > fence && len(s.Runs(id)) == 1
	}
}

// The only node there is hears that a task is free before the reply to its own Release
// comes: it is the one that has to claim it again.
func TestTaskIsFreeBeforeItsReleaseIsAnswered(t *testing.T) {
	simtest.Script(t, eager(1), func(s *simtest.Sim) {
		s.Start()
		s.Submit("t1")
		s.Until("a runs t1", runsOn(s, "t1", "a"))
		_, fence := s.Owner("t1")
		s.Return("t1", false)
		release := s.Hold("a", simtest.OpRelease, "t1")
		release.Answer()
		s.Flow()
		release.Pass()
		s.Until("a runs t1 again", claimedAfter(s, "t1", fence))
		s.Settle()
	})
}

// A task is deleted and submitted anew while the claim of the old one is about to be
// sent: that one fails, and the new task must not be taken for the one that is gone.
func TestSubmittedAnewWhileAClaimIsUnderWay(t *testing.T) {
	cfg := eager(1)
	cfg.Backend = simtest.Memory
	simtest.Script(t, cfg, func(s *simtest.Sim) {
		s.Start()
		s.Submit("t1")
		claim := s.Hold("a", simtest.OpClaim, "t1")
		s.Delete("t1")
		s.Submit("t1")
		s.Flow()
		claim.Pass()
		s.Until("the new t1 runs", runs(s, "t1"))
		s.Settle()
	})
}

// A node that was drained and is unfrozen takes tasks, and keeps them; the others know.
func TestDrainedNodesTakeTurns(t *testing.T) {
	onEach(t, simtest.Config{Nodes: 2}, func(s *simtest.Sim) {
		s.Start()
		s.Flow()
		s.Submit("t1", "t2")
		s.Command("a", metafora.Drain())
		s.Until("b has all", func() bool { return runsOn(s, "t1", "b")() && runsOn(s, "t2", "b")() })
		s.Command("a", metafora.Unfreeze())
		s.Command("b", metafora.Drain())
		s.Until("a has all", func() bool { return runsOn(s, "t1", "a")() && runsOn(s, "t2", "a")() })
		s.Settle()
	})
}
