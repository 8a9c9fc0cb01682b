package simtest

import "pgregory.net/rapid"

// source decides what happens where several things can. Zero is always the
// plainest choice, so that a shrunk schedule is a plain one.
type source interface {
	// pick returns a number from 0 to n-1. n is at most 64.
	pick(n int, what string) int
	// step calls f with a number below actionNumbers, which says what is to
	// happen. Its picks belong to it: a shrinker removes all or none. Those after
	// maxPicks are zero. It reports false, and does not call f, where the schedule
	// ends.
	step(f func(action int)) (more bool)
	// end is called after the last step that a schedule may have.
	end()
}

const (
	actionBits    = 8
	actionNumbers = 1<<actionBits - 1 // 0 ends a schedule
	pickBits      = 6
	maxPicks      = 4
)

// numbers are what a step needs. All are drawn before the first is used, and
// always as many: where a shrinker changes what a step does, the steps after it
// keep theirs.
type numbers struct {
	action int // 0 ends the schedule
	picks  [maxPicks]int
}

// dice are the generators of numbers. They draw bit by bit, since the integers of
// rapid are small ones most of the time, which is of use for sizes, not for choices;
// and since it takes rapid long to shrink the words that integers are made from.
type dice struct {
	bit  *rapid.Generator[bool]
	pick *rapid.Generator[int]
	// step is one group of bits for a step, which rapid's shrinker can take out.
	step *rapid.Generator[numbers]
	// nothing draws no bit, and reads as one that is not set.
	nothing *rapid.Generator[struct{}]
}

func newDice() *dice {
	d := &dice{bit: rapid.Bool(), nothing: rapid.Make[struct{}]()}
	d.pick = rapid.Custom(func(t *rapid.T) int { return d.number(t, pickBits) })
	d.step = rapid.Custom(func(t *rapid.T) (n numbers) {
		if n.action = d.number(t, actionBits); n.action != 0 {
			for i := range n.picks {
				n.picks[i] = d.number(t, pickBits)
			}
		}
		return n
	})
	return d
}

func (d *dice) number(t *rapid.T, bits int) (n int) {
	for range bits {
		n <<= 1
		if d.bit.Draw(t, "") {
			n++
		}
	}
	return n
}

// drawn lets rapid decide.
type drawn struct {
	*dice
	t      *rapid.T
	inStep bool
	picks  []int // left for the step under way
}

func (d *drawn) step(f func(action int)) (more bool) {
	n := d.dice.step.Draw(d.t, "step")
	if n.action == 0 {
		return false
	}
	d.inStep, d.picks = true, n.picks[:]
	defer func() { d.inStep = false }()
	f(n.action - 1)
	return true
}

// end draws what reads as the end of a schedule, which is then still there when a
// shrinker has removed a step.
func (d *drawn) end() {
	for range actionBits {
		d.nothing.Draw(d.t, "")
	}
}

func (d *drawn) pick(n int, what string) int {
	if !d.inStep {
		return d.dice.pick.Draw(d.t, what) % n
	}
	if len(d.picks) == 0 {
		return 0
	}
	number := d.picks[0]
	d.picks = d.picks[1:]
	return number % n
}

// scripted decides nothing by chance.
type scripted struct{}

func (scripted) pick(int, string) int { return 0 }
func (scripted) step(func(int)) bool  { return false }
func (scripted) end()                 {}
