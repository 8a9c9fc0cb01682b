package simtest

import (
	"slices"
	"testing"
)

// monotonous is a source that always draws the same action, and the largest number for
// how it is to be taken.
type monotonous struct {
	action int
	steps  int // drawn
}

func (m *monotonous) pick(n int, what string) int {
	if what == "time" {
		return n - 1
	}
	return 0
}

func (m *monotonous) step(f func(action int)) bool {
	m.steps++
	f(m.action)
	return true
}

func (*monotonous) end() {}

func TestWhatArrivesWhileTimePassesCounts(t *testing.T) {
	cfg, err := Config{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	place := slices.IndexFunc(cfg.deck, func(a *action) bool { return a.name == "time" })
	m := &monotonous{action: (place+1)*actionNumbers/len(cfg.deck) - 1}
	if v, _ := once(t, cfg, m, func(s *Sim) { s.Explore() }); v != nil {
		t.Fatal(v)
	}
	// Three nodes renew their leases a dozen times each in thirty seconds.
	if most := cfg.Steps / 25; m.steps > most {
		t.Errorf("%d steps were drawn, want at most %d", m.steps, most)
	}
}
