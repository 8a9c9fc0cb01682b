package simtest

import "pgregory.net/rapid"

// source decides what happens where several things can. Zero is always the
// plainest choice, so that a shrunk schedule is a plain one.
type source interface {
	// pick returns a number from 0 to n-1. n is at most 256, and 64 but for the
	// first pick in a step.
	pick(n int, what string) int
	// step runs f, whose picks belong together: a shrinker removes all or none.
	step(f func())
}

const (
	firstPick  = 256
	otherPicks = 64
	maxPicks   = 4 // in a step; further ones are 0
)

// drawn lets rapid decide. It draws all numbers of a step before the first is
// used, and always as many: where a shrinker changes what a step does, the steps
// after it keep theirs.
type drawn struct {
	t       *rapid.T
	numbers *rapid.Generator[[maxPicks]int]
	drawn   [maxPicks]int // for the step under way
	used    int
	inStep  bool
}

// newNumbers makes a generator of what one step needs. Each value of a generator
// is a group that rapid's shrinker can take out as a whole.
func newNumbers() *rapid.Generator[[maxPicks]int] {
	first, other := rapid.IntRange(0, firstPick-1), rapid.IntRange(0, otherPicks-1)
	return rapid.Custom(func(t *rapid.T) (numbers [maxPicks]int) {
		numbers[0] = first.Draw(t, "")
		for i := range numbers[1:] {
			numbers[1+i] = other.Draw(t, "")
		}
		return numbers
	})
}

func (d *drawn) step(f func()) {
	d.drawn, d.used, d.inStep = d.numbers.Draw(d.t, "step"), 0, true
	defer func() { d.inStep = false }()
	f()
}

func (d *drawn) pick(n int, what string) int {
	if !d.inStep {
		return rapid.IntRange(0, n-1).Draw(d.t, what)
	}
	if d.used == maxPicks {
		return 0
	}
	d.used++
	return d.drawn[d.used-1] % n
}

// scripted decides nothing by chance.
type scripted struct{}

func (scripted) pick(int, string) int { return 0 }
func (scripted) step(f func())        { f() }
