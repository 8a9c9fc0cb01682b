package balance

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/metafora-go/metafora"
)

// refresh is how old a balancer's view of the cluster may be when it decides on
// a claim. Asking for the count of each node each time would cost more than the
// decision itself.
const refresh = time.Millisecond

// member is what a balancer knows of a node that accepts tasks.
type member struct {
	// What the order of nodes for a task depends on is close together: it is read for
	// each member and each task.
	seed     uint64 // hash of the name
	weight   float64
	expected int // tasks counted or on their way
	silent   bool
	active   bool // counts among those that share the tasks
	wanted   bool // goes first for what it lacks: active or on trial
	lacked   bool // was needy in the latest round of balancing
	owned    int  // tasks counted

	node  metafora.Node
	tally tally
	trust trust
}

// members is a balancer's view of the cluster: the nodes that accept tasks,
// sorted by name, and how many tasks they have.
type members struct {
	cluster metafora.ClusterState
	filter  func(metafora.Node) bool
	window  time.Duration // of the tallies
	trials  bool          // whether those on probation are tried

	name string // of this node
	self int    // this node's index in list, -1 when it is not there
	list []member
	asOf time.Time
	// changes counts how often a node came or went.
	changes int

	// Sums over the active members.
	weight   float64
	owned    int
	expected int
	uniform  bool // all weights are equal

	// Sums over the members for which a task is to be released as a trial.
	trialWeight float64
	trialOwned  int
}

func (ms *members) init(name string) {
	ms.name, ms.self = name, -1
}

// update brings the view up to date. own is the number of tasks of this node,
// which knows it before the cluster state does.
//
// The tally of this node goes by the cluster state all the same: nodes agree on
// who goes first as far as they look at the same figures.
func (ms *members) update(now time.Time, own int) {
	if ms.asOf.IsZero() || now.Sub(ms.asOf) >= refresh {
		ms.reload(now, own)
		return
	}
	if ms.self < 0 {
		return
	}
	m := &ms.list[ms.self]
	ms.owned -= m.existing()
	m.owned = own
	ms.owned += m.existing()
	ms.expect(m)
}

// reload reads the whole view anew. Both lists are sorted by name.
func (ms *members) reload(now time.Time, own int) {
	ms.asOf, ms.self = now, -1
	known, changed := 0, false
	for _, n := range ms.cluster.Nodes() {
		if !n.Accepting || (ms.filter != nil && !ms.filter(n)) {
			continue
		}
		changed = ms.align(n.Name, known) || changed
		m := &ms.list[known]
		m.read(n, ms.cluster.NodeTaskCount(n.Name), now, ms.window)
		m.wanted = m.active || ms.trials && m.trust.onTrial(now) && m.expected == m.tally.counted
		known++
	}
	if changed || known < len(ms.list) {
		ms.list = slices.Delete(ms.list, known, len(ms.list))
		ms.changes++
	}
	if i, here := slices.BinarySearchFunc(ms.list, ms.name, byName); here {
		m := &ms.list[i]
		ms.self, m.owned, m.expected = i, own, max(own, m.expected)
	}
	ms.sum()
}

func byName(m member, name string) int { return strings.Compare(m.node.Name, name) }

// align makes a name that of member i: it drops those before that have gone, and adds
// one that has come. It reports whether it did either.
func (ms *members) align(name string, i int) (changed bool) {
	gone := i
	for gone < len(ms.list) && ms.list[gone].node.Name < name {
		gone++
	}
	ms.list = slices.Delete(ms.list, i, gone)
	if i < len(ms.list) && ms.list[i].node.Name == name {
		return gone > i
	}
	ms.list = slices.Insert(ms.list, i, member{seed: xxhash.Sum64String(name)})
	return true
}

// reloadToGive reads the view anew for a round of balancing. There this node counts
// even when it is doubted as one that takes tasks: it has some to give.
func (ms *members) reloadToGive(now time.Time, own int) {
	ms.reload(now, own)
	if ms.self >= 0 && !ms.list[ms.self].active {
		ms.list[ms.self].active = true
		ms.sum()
	}
}

// doubted returns the members that do not count, those that have most of their share
// first.
func (ms *members) doubted() []*member {
	var doubted []*member
	for i := range ms.list {
		if m := &ms.list[i]; !m.active {
			doubted = append(doubted, m)
		}
	}
	slices.SortStableFunc(doubted, func(a, b *member) int {
		return cmp.Compare(float64(b.owned)/b.weight, float64(a.owned)/a.weight)
	})
	return doubted
}

// read notes what the cluster state says of a member.
func (m *member) read(n metafora.Node, owned int, now time.Time, window time.Duration) {
	m.node, m.weight, m.owned = n, n.Weight, owned
	if !(m.weight > 0) || math.IsInf(m.weight, 0) {
		m.weight = 1
	}
	if owned > m.tally.counted {
		m.trust.confirm()
	}
	if m.tally.observe(now, window, owned) {
		m.trust.doubt(now)
	}
	m.silent, m.active = m.trust.silent(now), !m.trust.onProbation()
	m.expected = m.tally.expected()
}

// sum computes the sums over the active members.
func (ms *members) sum() {
	ms.weight, ms.owned, ms.expected, ms.uniform = 0, 0, 0, true
	ms.trialWeight, ms.trialOwned = 0, 0
	for i := range ms.list {
		m := &ms.list[i]
		ms.uniform = ms.uniform && m.weight == ms.list[0].weight
		switch {
		case m.active:
			ms.weight += m.weight
			ms.owned += m.existing()
			ms.expected += m.expected
		case ms.trials && m.trust.needsTask(ms.asOf):
			ms.trialWeight += m.weight
			ms.trialOwned += m.existing()
		}
	}
}

// existing returns how many of all tasks are with a member, also those that it is
// about to let go, which it does not count as its own.
func (m *member) existing() int { return max(m.owned, m.tally.counted) }

// assign notes that a task is on its way to a member.
func (ms *members) assign(i int) {
	m := &ms.list[i]
	m.tally.add()
	m.wanted = m.active // one task is enough for a trial
	ms.expect(m)
}

func (ms *members) expect(m *member) {
	e := max(m.owned, m.tally.expected())
	if m.active {
		ms.expected += e - m.expected
	}
	m.expected = e
}

// total returns how many tasks there are, one that waits to be claimed included: a
// new one, or one that may be expected somewhere already.
func (ms *members) total(isNew bool) int {
	if isNew {
		return ms.expected + 1
	}
	return max(ms.expected, ms.owned+1)
}

// share returns the part of total tasks that is a member's.
func (ms *members) share(i, total int) float64 {
	if ms.weight == 0 { // there are none, or all are on probation
		return float64(total)
	}
	return float64(total) * ms.list[i].weight / ms.weight
}

// above returns how many of total tasks a member has above its share, were those on
// trial to have theirs, and above one.
func (ms *members) above(i, total int) float64 {
	m := &ms.list[i]
	share := float64(total+ms.trialOwned) * m.weight / (ms.weight + ms.trialWeight)
	return max(0, float64(m.owned)-max(1, share))
}

// keep returns how many tasks a node with some share keeps when others need some: its
// share rounded down, but not its only task.
func keep(share float64) int { return max(1, floor(share)) }

// scarce returns below how many tasks a load is less than a share by some factor. Small
// shares round so coarsely that a node left with what it keeps could be far below its
// share, and take back what it gave: that is not far.
func scarce(share, factor float64) int { return min(ceil(share/factor), keep(share)) }

// tried notes that this round, if any, has released tasks for those on trial.
func (ms *members) tried() {
	for i := range ms.list {
		if m := &ms.list[i]; m.trust.needsTask(ms.asOf) {
			m.trust.putOff(ms.asOf)
		}
	}
}

// epsilon is more than an error of floating point in a number of tasks.
const epsilon = 1e-9

// ceil rounds up, but not for the sake of an error of floating point.
func ceil(x float64) int { return int(math.Ceil(x - epsilon)) }

// floor rounds down, but not for the sake of an error of floating point.
func floor(x float64) int { return int(math.Floor(x + epsilon)) }
