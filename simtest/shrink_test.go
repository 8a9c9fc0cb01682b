package simtest

import (
	"strings"
	"testing"
	"time"
)

func TestWhatBreaksAtTheEndIsShrunkToNoStep(t *testing.T) {
	text := FailureOf(t, Config{Nodes: 1, Tasks: 1, Schedules: 1, Steps: 20}, time.Minute, func(s *Sim) {
		s.Explore()
		s.Logf("took %d steps", s.happened)
		s.Fatalf("over")
	})
	if !strings.Contains(text, "took 0 steps") {
		t.Errorf("not shrunk:\n%s", text)
	}
}

func TestPanicIsAFailureLikeOthers(t *testing.T) {
	text := FailureOf(t, Config{Nodes: 1, Tasks: 1, Schedules: 20}, time.Second, func(s *Sim) {
		s.Invariant("the first step panics", func() error {
			if s.happened > 0 {
				panic("out of order")
			}
			return nil
		})
		s.Explore()
	})
	for _, want := range []string{noPanic, "out of order", "shrink_test.go", "| broker"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report lacks %q:\n%s", want, text)
		}
	}
}
