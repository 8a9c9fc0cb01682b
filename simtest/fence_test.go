package simtest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/simtest"
)

const noStaleWrite = "no write of an old owner"

func writing(put func(*rows, metafora.Claim)) func(*simtest.Sim) {
	return func(s *simtest.Sim) {
		r := newRows()
		s.Handle(writer(s, func(c metafora.Claim) { put(r, c) }))
		s.Invariant(noStaleWrite, r.check)
		s.Explore()
		s.Settle()
	}
}

// The naive handler of the example has a bug that Run has to find.
func TestRunFindsTheUnfencedWrite(t *testing.T) {
	cfg := simtest.Config{Nodes: 2, Tasks: 1, Schedules: 20_000, Without: []simtest.Fault{
		// Without these, it is found in a second.
		simtest.FailedCalls, simtest.LostReplies, simtest.LateCalls, simtest.BrokenWatches, simtest.Compactions,
		simtest.Crashes, simtest.Revocations, simtest.Shutdowns, simtest.Stalls,
	}}
	failure := simtest.FailureOf(t, cfg, 2*time.Second, writing((*rows).put))
	if !strings.Contains(failure, noStaleWrite) {
		t.Fatalf("it was not found:\n%s", failure)
	}
	if !strings.Contains(failure, "write t1") {
		t.Errorf("the timeline does not tell of the writes:\n%s", failure)
	}
}

func TestFencedWriteHolds(t *testing.T) {
	simtest.Run(t, simtest.Config{Nodes: 2, Tasks: 2, Schedules: 100}, writing((*rows).putFenced))
}

// The shortest schedule in which the unfenced write does harm.
func TestStaleWriteInAScript(t *testing.T) {
	simtest.Script(t, simtest.Config{Nodes: 2}, func(s *simtest.Sim) {
		r := newRows()
		s.Handle(writer(s, r.put))
		s.Start()
		s.Submit("t1")
		old := s.Hold("", "write", "t1")
		first, _ := s.Owner("t1")
		s.Partition(first)
		s.Until("the other has written", func() bool {
			node, _ := s.Owner("t1")
			return node != first && len(s.Runs("t1")) == 1
		})
		s.Flow()
		old.Pass()
		if r.check() == nil {
			s.Fatalf("the old owner's write did no harm")
		}
	})
}
