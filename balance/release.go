package balance

import (
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/metafora-go/metafora"
)

// Balance implements [metafora.Balancer]. It releases nothing while every node
// is near its share, and never more than this node has above its share.
//
// A node far below its share, one that has just joined as a rule, gets tasks for
// which it now goes first. All nodes compute from the same counts how many each
// of them is to give, so that together they do not release too many. A node far
// above its share releases what is too much to any nodes that have room.
func (r *Rendezvous) Balance() []string {
	now := time.Now()
	r.members.reloadToGive(now, r.bc.Count())
	if r.members.self < 0 || r.damper.pauses(now, r.members.changes) {
		return nil
	}
	plan := r.plan()
	ids := r.carryOut(&plan)
	r.note(&plan)
	r.members.tried()
	r.damper.released(now, len(ids))
	return ids
}

// carryOut selects the tasks to release.
func (r *Rendezvous) carryOut(p *plan) []string {
	if p.empty() {
		return nil
	}
	var ids []string
	tasks := r.bc.Tasks()
	given := make([]bool, len(tasks))
	for _, last := range []kind{goesHome, strays, leavesHome, waits} {
		for n, t := range tasks {
			if p.empty() {
				return ids
			}
			if given[n] {
				continue
			}
			if i := r.taker(p, t.Task, last); i >= 0 {
				p.give(r.members.self, i)
				given[n] = true
				ids = append(ids, t.ID())
			}
		}
	}
	return ids
}

// A kind of task by what its hash alone says of its node, its home. They are
// released in this order: tasks that go home will stay there.
type kind uint8

const (
	goesHome   kind = iota // it is at home with the node that gets it
	strays                 // it is at home with a third node
	leavesHome             // it is at home with this node
	waits                  // it has to be let pass by a node that is doubted
)

// taker returns the member that would claim a task first if it were released, by the
// rules of CanClaim, as far as it takes what is left to it; -1 when the task is of a
// kind after last, or the plan has no task for that one. What kind a task is of changes
// with each one given.
func (r *Rendezvous) taker(p *plan, t metafora.Task, last kind) int {
	ms := &r.members
	task := xxhash.Sum64String(t.ID())
	first, home := -1, -1
	best, closest := noRank, noRank
	for i := range ms.list {
		if !r.mayRun(t, i) {
			continue
		}
		load := p.loads[i]
		if i == ms.self {
			load-- // it is without this one then
		}
		k := r.rank(i, task, load, p.total)
		letsPass := last == waits && !ms.list[i].active && p.quota[i] == 0
		if k < best && !letsPass {
			best, first = k, i
		}
		if h := k.home(); h < closest {
			closest, home = h, i
		}
	}
	if first < 0 || first == ms.self || best >= newRank(full, 0) {
		return -1
	}
	is := strays
	switch home {
	case first:
		is = goesHome
	case ms.self:
		is = leavesHome
	}
	m := &ms.list[first]
	hasQuota := p.quota[first] > 0 && (is == goesHome || m.lacked || !m.active)
	// One that is doubted may let the task pass, which then may come back to this node.
	hasRoom := p.over > 0 && m.active
	if is > last || !hasQuota && !hasRoom {
		return -1
	}
	return first
}
