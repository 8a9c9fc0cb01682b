package balance

import (
	"math"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/metafora-go/metafora"
)

// refresh is how old a balancer's view of the cluster may be when it decides on
// a claim. Asking for the count of each node each time would cost more than the
// decision itself.
const refresh = 10 * time.Millisecond

// member is what a balancer knows of a node that accepts tasks.
type member struct {
	node     metafora.Node
	weight   float64
	seed     uint64 // hash of the name
	owned    int    // tasks counted
	expected int    // tasks counted or on their way
	coming   tally
	trust    trust
	active   bool // not silent
	lacked   bool // was needy in the latest round of balancing
}

// members is a balancer's view of the cluster: the nodes that accept tasks,
// sorted by name, and how many tasks they have.
type members struct {
	cluster metafora.ClusterState
	filter  func(metafora.Node) bool
	window  time.Duration // of the tallies

	name  string // of this node
	self  int    // this node's index in list, -1 when it is not there
	list  []member
	spare []member
	read  time.Time

	// Sums over the active members.
	weight   float64
	owned    int
	expected int
	uniform  bool // all weights are equal
}

func (ms *members) init(name string) {
	ms.name, ms.self = name, -1
}

// update brings the view up to date. own is the number of tasks of this node,
// which knows it better than the cluster state does.
func (ms *members) update(now time.Time, own int) {
	if ms.read.IsZero() || now.Sub(ms.read) >= refresh {
		ms.reload(now, own)
		return
	}
	if ms.self < 0 {
		return
	}
	m := &ms.list[ms.self]
	ms.owned += own - m.owned
	m.owned = own
	ms.expect(m)
}

// reload reads the whole view anew.
func (ms *members) reload(now time.Time, own int) {
	ms.read, ms.self = now, -1
	next, old := ms.spare[:0], ms.list
	for _, n := range ms.cluster.Nodes() {
		for len(old) > 0 && old[0].node.Name < n.Name {
			old = old[1:]
		}
		if !n.Accepting || (ms.filter != nil && !ms.filter(n)) {
			continue
		}
		m := member{seed: xxhash.Sum64String(n.Name)}
		if len(old) > 0 && old[0].node.Name == n.Name {
			m = old[0]
		}
		m.node, m.weight = n, n.Weight
		if !(m.weight > 0) || math.IsInf(m.weight, 0) {
			m.weight = 1
		}
		m.owned = ms.cluster.NodeTaskCount(n.Name)
		m.trust.observe(now, m.owned)
		if n.Name == ms.name {
			ms.self, m.owned = len(next), own
		}
		m.coming.roll(now, ms.window, m.owned)
		next = append(next, m)
	}
	ms.spare, ms.list = ms.list, next
	ms.sum(now)
}

// sum computes the sums over the active members.
func (ms *members) sum(now time.Time) {
	ms.weight, ms.owned, ms.expected, ms.uniform = 0, 0, 0, true
	for i := range ms.list {
		m := &ms.list[i]
		m.active = i == ms.self || !m.trust.silent(now)
		m.expected = m.coming.expect(m.owned)
		ms.uniform = ms.uniform && m.weight == ms.list[0].weight
		if m.active {
			ms.weight += m.weight
			ms.owned += m.owned
			ms.expected += m.expected
		}
	}
}

// assign notes that a task is on its way to a member.
func (ms *members) assign(i int) {
	m := &ms.list[i]
	m.coming.add(1)
	ms.expect(m)
}

func (ms *members) expect(m *member) {
	e := m.coming.expect(m.owned)
	if m.active {
		ms.expected += e - m.expected
	}
	m.expected = e
}

// share returns the part of total tasks that is a member's.
func (ms *members) share(i, total int) float64 {
	return float64(total) * ms.list[i].weight / ms.weight
}

// ceil rounds up, but not for the sake of an error of floating point.
func ceil(x float64) int { return int(math.Ceil(x - 1e-9)) }

// floor rounds down, but not for the sake of an error of floating point.
func floor(x float64) int { return int(math.Floor(x + 1e-9)) }
