package balance

import (
	"math"

	"github.com/metafora-go/metafora"
)

// A tier comes before the hash in the order of nodes for a task.
type tier uint8

const (
	needy  tier = iota // far below its share
	free               // neither
	full               // at its share times the load factor, or above
	silent             // lets tasks pass
	absent             // not known to accept tasks
)

// rank is a member's place in the order of a task: smaller goes first.
type rank struct {
	tier tier
	key  float64
}

func (k rank) before(other rank) bool {
	if k.tier != other.tier {
		return k.tier < other.tier
	}
	return k.key < other.key
}

// rank computes the rank of member i for a task, given how many tasks it has and
// how many there are.
func (r *Rendezvous) rank(i int, task uint64, load, total int) rank {
	m := &r.members.list[i]
	k := rank{tier: free, key: r.members.key(m, task)}
	switch share := r.members.share(i, total); {
	case m.silent:
		k.tier = silent
	case float64(load) >= r.bound(share)-epsilon:
		k.tier = full
	case m.wanted && r.needy(load, share):
		k.tier = needy
	}
	return k
}

// bound returns from how many tasks on a member with some share is full.
func (r *Rendezvous) bound(share float64) float64 { return share * r.factor }

// needy tells whether a member with some share is far below it. The way down is
// longer than that up: few nodes are needy unless they have just joined, so that
// nearly all tasks go where their hash says.
func (r *Rendezvous) needy(load int, share float64) bool {
	return farBelow(load, share, r.factor*r.factor)
}

// key returns a number that orders the members for a task. The smallest one is
// a member's with a chance in proportion to its weight: -ln(u)/w, with u uniform
// in (0, 1), is exponentially distributed with rate w. Where all weights are
// equal the logarithm would not change the order.
func (ms *members) key(m *member, task uint64) float64 {
	u := unit(mix(task ^ m.seed))
	if ms.uniform {
		return -u
	}
	return -math.Log(u) / m.weight
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
	rank  rank
	ahead int // how many nodes go before this one
	first int // who goes first, -1 for nobody
}

// place computes the place of this node for a task, of some hash, as seen now.
func (r *Rendezvous) place(t metafora.Task, task uint64, total int) place {
	ms := &r.members
	p := place{rank: rank{tier: absent}, first: -1}
	if ms.self >= 0 {
		p.rank = r.rank(ms.self, task, ms.list[ms.self].expected, total)
	}
	var best rank
	for i := range ms.list {
		if !r.mayRun(t, i) {
			continue
		}
		k := r.rank(i, task, ms.list[i].expected, total)
		if p.first < 0 || k.before(best) {
			best, p.first = k, i
		}
		if i != ms.self && k.before(p.rank) {
			p.ahead++
		}
	}
	return p
}

func (r *Rendezvous) mayRun(t metafora.Task, i int) bool {
	return r.eligible == nil || r.eligible(t, r.members.list[i].node)
}
