package simtest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// seeded draws from a seed, without rapid.
type seeded struct{ rng *rand.Rand }

func (s seeded) pick(n int, _ string) int { return s.rng.IntN(n) }
func (s seeded) end()                     {}

func (s seeded) step(f func(int)) bool {
	n := s.rng.IntN(actionNumbers + 1)
	if n > 0 {
		f(n - 1)
	}
	return n > 0
}

func newSeeded(seed uint64) seeded { return seeded{rand.New(rand.NewPCG(seed, 0))} }

// play runs one schedule and returns its timeline.
func play(t *testing.T, cfg Config, seed uint64) (timeline string) {
	t.Helper()
	full, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	v, sim := once(t, full, newSeeded(seed), func(s *Sim) {
		s.Explore()
		s.Settle()
		timeline = s.report()
	})
	if v != nil {
		t.Errorf("seed %d: %v\n%s", seed, v, sim.report())
	}
	return timeline
}

func TestSameDrawsSameRun(t *testing.T) {
	if raceEnabled {
		t.Skip("with the race detector, the runtime shuffles goroutines that are ready")
	}
	for _, cfg := range []Config{
		{Backend: Etcd},
		{Backend: Memory},
		{Backend: Etcd, Stateful: true},
		{Backend: Memory, Stateful: true},
	} {
		t.Run(fmt.Sprintf("%s, stateful %t", cfg.Backend, cfg.Stateful), func(t *testing.T) { testSameRuns(t, cfg) })
	}
}

func testSameRuns(t *testing.T, cfg Config) {
	const seeds = 200
	for seed := range uint64(seeds) {
		first, second := play(t, cfg, seed), play(t, cfg, seed)
		if t.Failed() {
			return
		}
		if first != second {
			t.Fatalf("seed %d:\n%s", seed, difference(first, second))
		}
	}
}

// difference shows where two timelines part.
func difference(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(as), len(bs)) {
		if as[i] != bs[i] {
			from := max(0, i-15)
			return strings.Join(as[from:min(len(as), i+5)], "\n") + "\n--- or ---\n" + strings.Join(bs[i:min(len(bs), i+5)], "\n")
		}
	}
	return "one is longer"
}
