package simtest

import "slices"

// swarms is how many mixtures of actions there are; 0 is the plain one, in which
// each action is as likely as its weight says.
const swarms = 1 << 16

// swarm mixes a deck anew, as its number says. Each schedule draws one: it does
// without some of the actions, and some are likelier. What an even mixture of
// everything seldom finds is then found soon: what takes several of a kind, or
// must not be cut short by something else (Groce et al., Swarm Testing, 2012).
//
// A place of the deck keeps its action unless that is one to do without, so that a
// step means the same in most mixtures.
func swarm(deck []action, number int) []action {
	if number == 0 {
		return deck
	}
	var likely []action
	for _, a := range deck {
		if !a.idle(number) {
			likely = append(likely, slices.Repeat([]action{a}, a.boost(number))...)
		}
	}
	mixed := slices.Clone(deck)
	for i, a := range deck {
		switch {
		case !a.idle(number):
		case i == 0:
			// Much likelier than all others, and has to stay plain.
			mixed[i] = deck[1]
		default:
			mixed[i] = likely[scramble(number, i)%len(likely)]
		}
	}
	return mixed
}

// idle reports whether a mixture does without an action.
func (a action) idle(number int) bool { return !a.basic() && scramble(number, a.dice())%2 == 0 }

// boost is by how much an action gets more of the places that others leave.
func (a action) boost(number int) int {
	if a.basic() || scramble(number, a.dice())%3 == 0 {
		return 1
	}
	return 8
}

// basic actions take part in each mixture.
func (a action) basic() bool { return a.weight >= 5 || a.name == "restart" || a.name == "mend" }

// dice tells actions apart, whatever other actions there are.
func (a action) dice() (n int) {
	for _, c := range []byte(a.name) {
		n = 31*n + int(c)
	}
	return n
}

// scramble returns a number that follows from two, and looks like chance.
func scramble(a, b int) int {
	x := uint64(a)<<40 ^ uint64(b)
	for range 3 {
		x = (x ^ x>>29) * 0x9e3779b97f4a7c15
	}
	return int(x >> 33)
}
