package simtest

import "slices"

// swarm mixes a deck anew, as a number says; 0 leaves it as it is, with each action
// as likely as its weight says. Each schedule draws a number, and does without some of
// the actions, while others are likelier. What an even mixture of everything seldom
// finds is then found soon: what takes several of a kind, or must not be cut short by
// something else (Groce et al., Swarm Testing, 2012).
//
// A place of the deck keeps its action unless that is one to do without, so that a
// step means the same in most mixtures.
func swarm(deck []*action, number int) []*action {
	if number == 0 {
		return deck
	}
	var likely []*action
	for _, a := range deck {
		if !a.idle(number) {
			likely = append(likely, slices.Repeat([]*action{a}, a.boost(number))...)
		}
	}
	mixed := slices.Clone(deck)
	for i, a := range deck {
		if a.idle(number) {
			mixed[i] = likely[scramble(number, i)%len(likely)]
		}
	}
	return mixed
}

// mix sets what a schedule is made of, as a number says: its deck, and how many
// tasks there are.
func (s *Sim) mix(number int) {
	s.deck = swarm(s.cfg.deck, number)
	if number != 0 && scramble(number, -1)%2 == 0 {
		s.ids = s.ids[:1+scramble(number, -2)%len(s.ids)]
	}
}

// drawSwarm draws the number of a mixture.
func (s *Sim) drawSwarm() int {
	const numbers = 64
	return s.source.pick(numbers, "mixture")*numbers + s.source.pick(numbers, "mixture")
}

// idle reports whether a mixture does without an action.
func (a *action) idle(number int) bool { return !a.basic() && scramble(number, a.dice())%2 == 0 }

// boost is by how much an action gets more of the places that others leave.
func (a *action) boost(number int) int {
	if a.basic() || scramble(number, a.dice())%3 == 0 {
		return 1
	}
	return 8
}

// basic actions take part in each mixture.
func (a *action) basic() bool {
	switch a.name {
	case "flow", "time", "restart", "mend":
		return true
	}
	return a.weight >= 6
}

// dice tells actions apart, whatever other actions there are.
func (a *action) dice() (n int) {
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
