package balance

import (
	"math"

	"github.com/metafora-go/metafora"
)

// A tier comes before the hash in the order of nodes for a task.
type tier uint8

const (
	tried  tier = iota // far below its share, and on trial
	needy              // far below its share
	free               // neither
	full               // at its share times the load factor, or above
	silent             // lets tasks pass
)

const tierBits = 3

// rank is a member's place in the order of a task: smaller goes first. Its tier is
// in the upper bits, what its hash says in the others.
type rank uint64

const noRank = rank(math.MaxUint64) // after all others

func newRank(t tier, key uint64) rank { return rank(t)<<(64-tierBits) | rank(key>>tierBits) }

// home returns the rank that a member would have if its hash alone counted.
func (k rank) home() rank { return k << tierBits >> tierBits }

// limits are the loads at which a member with some share changes its tier.
type limits struct {
	full  int // from here on
	needy int // below this
}

// limits returns the limits of member i among total tasks. They are the same for all
// members where all weights are equal.
func (r *Rendezvous) limits(i, total int) limits {
	share := r.members.share(i, total)
	return limits{full: ceil(r.bound(share)), needy: r.needyBelow(share)}
}

// bound returns from how many tasks on a member with some share is full.
func (r *Rendezvous) bound(share float64) float64 { return share * r.factor }

// needyBelow returns below how many tasks a member with some share is far below it.
// The way down is longer than that up: few nodes are needy unless they have just
// joined, so that nearly all tasks go where their hash says.
func (r *Rendezvous) needyBelow(share float64) int { return scarce(share, r.factor*r.factor) }

// rank returns the rank that a member with some load has for a task, where all weights
// are equal.
func (m *member) rank(task uint64, load int, l limits) rank {
	return newRank(m.tier(load, l), ^mix(task^m.seed))
}

// weightedRank is rank where weights differ. The smallest key is a member's with a chance
// in proportion to its weight: -ln(u)/w, with u uniform in (0, 1), is exponentially
// distributed with rate w. If all weights were equal the logarithm would not change the
// order.
func (m *member) weightedRank(task uint64, load int, l limits) rank {
	key := -math.Log(unit(mix(task^m.seed))) / m.weight
	// The bits of positive numbers have the order of the numbers.
	return newRank(m.tier(load, l), math.Float64bits(key)<<1)
}

// tier returns the tier of a member that has some load.
func (m *member) tier(load int, l limits) tier {
	switch {
	case m.silent:
		return silent
	case load >= l.full:
		return full
	case m.wanted && load < l.needy:
		if !m.active {
			return tried
		}
		return needy
	}
	return free
}

// mix makes each bit of the result depend on all bits of x. It is the finaliser
// of SplitMix64.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// unit maps a hash to a number in (0, 1).
func unit(x uint64) float64 { return (float64(x>>12) + 0.5) / (1 << 52) }

// place is where this node stands in the order of a task.
type place struct {
	ahead int // how many nodes go before this one
	first int // who goes first, -1 for nobody
}

// place computes the place of this node for a task, of some hash, as seen now.
// Every node does so for every task of the cluster.
func (r *Rendezvous) place(t metafora.Task, task uint64, total int) place {
	ms := &r.members
	own, l := noRank, r.limits(0, total)
	if ms.self >= 0 {
		own = r.rank(ms.self, task, ms.list[ms.self].expected, total)
	}
	if ms.uniform && r.eligible == nil {
		return ms.place(task, own, l)
	}
	p, best := place{first: -1}, noRank
	for i := range ms.list {
		if !r.mayRun(t, i) {
			continue
		}
		k := r.rank(i, task, ms.list[i].expected, total)
		if k < best {
			best, p.first = k, i
		}
		if k < own {
			p.ahead++
		}
	}
	return p
}

// place is the same where all weights are equal and each member may run each task. It is
// most of what the balancer of a large cluster does, and this loop fits into the registers.
func (ms *members) place(task uint64, own rank, l limits) place {
	p, best := place{first: -1}, noRank
	for i := range ms.list {
		m := &ms.list[i]
		k := m.rank(task, m.expected, l)
		if k < best {
			best, p.first = k, i
		}
		if k < own {
			p.ahead++
		}
	}
	return p
}

// rank returns the rank of member i for a task, given how many tasks it has and how many
// there are.
func (r *Rendezvous) rank(i int, task uint64, load, total int) rank {
	m, l := &r.members.list[i], r.limits(i, total)
	if r.members.uniform {
		return m.rank(task, load, l)
	}
	return m.weightedRank(task, load, l)
}

func (r *Rendezvous) mayRun(t metafora.Task, i int) bool {
	return r.eligible == nil || r.eligible(t, r.members.list[i].node)
}
