package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestMutantsFit(t *testing.T) {
	names := make(map[string]bool)
	for _, m := range mutants {
		text, err := os.ReadFile(filepath.Join("..", "..", m.file))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.apply(string(text)); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		if names[m.name] || m.why == "" {
			t.Errorf("%s: listed twice, or does not say why", m.name)
		}
		names[m.name] = true
	}
}

func TestMutantsDie(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the simulation anew for each mutant")
	}
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{root: root, dir: t.TempDir(), checks: 2000, wall: 3 * time.Minute, shrink: time.Millisecond, seed: 1, sound: 1 << 20}
	want := map[string]string{
		"claim-takes-over": "one owner",
		"no-margin":        "in time",
	}
	for _, m := range mutants {
		if want[m.name] == "" {
			continue
		}
		r, err := l.try(m)
		if err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		if !r.killed || r.broken != want[m.name] {
			t.Errorf("%s: %+v, want %q broken", m.name, r, want[m.name])
		}
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		out  string
		want result
	}{
		{
			"    sim_test.go:10: [rapid] failed after 4 tests: in time: a handler's\n 1 0s | a\n 12 1m2.5s | | b\n",
			result{killed: true, broken: "in time", tried: 5, steps: 12},
		},
		{"    sim_test.go:10: [rapid] OK, passed 400 tests (1s)\n    sim_test.go:10: 300 schedules, 200 a second\nPASS\n", result{broken: "SURVIVED", tried: 300}},
		{"panic: deadlock\n", result{killed: true, broken: "it breaks down: panic: deadlock"}},
	} {
		if got := judge(c.out, nil); got != c.want {
			t.Errorf("%q: %+v, want %+v", c.out, got, c.want)
		}
	}
}
