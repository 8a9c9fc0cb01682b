package simtest

import (
	"sync"

	"pgregory.net/rapid"
)

// source decides what happens where several things can. Zero is always the
// plainest choice, so that a shrunk schedule is a plain one.
type source interface {
	// pick returns a number from 0 to n-1.
	pick(n int, what string) int
	// step runs f, whose draws belong together: a shrinker removes all or none.
	step(f func())
}

// drawn lets rapid decide.
type drawn struct {
	t    *rapid.T
	ints *generators
}

// generators are those of the numbers below each n, made once: rapid formats
// the name of each new one.
type generators struct {
	mu  sync.Mutex
	byN map[int]*rapid.Generator[int]
}

func newGenerators() *generators { return &generators{byN: make(map[int]*rapid.Generator[int])} }

func (g *generators) below(n int) *rapid.Generator[int] {
	g.mu.Lock()
	defer g.mu.Unlock()
	gen := g.byN[n]
	if gen == nil {
		gen = rapid.IntRange(0, n-1)
		g.byN[n] = gen
	}
	return gen
}

func (d *drawn) pick(n int, what string) int {
	if n < 2 {
		return 0
	}
	return d.ints.below(n).Draw(d.t, what)
}

// step makes a generator of f: each value that rapid draws from one is a group
// that its shrinker can take out as a whole.
func (d *drawn) step(f func()) {
	outer := d.t
	defer func() { d.t = outer }()
	rapid.Custom(func(t *rapid.T) struct{} {
		d.t = t
		f()
		return struct{}{}
	}).Draw(outer, "step")
}

// scripted decides nothing by chance.
type scripted struct{}

func (scripted) pick(int, string) int { return 0 }
func (scripted) step(f func())        { f() }
