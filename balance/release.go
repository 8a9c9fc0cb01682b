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
	ms := &r.members
	ms.reload(now, r.bc.Count())
	for i := range ms.list {
		ms.list[i].trust.judge(now)
	}
	ms.sum(now)
	plan := r.plan()
	defer r.note(&plan)
	if plan.empty() {
		return nil
	}
	tasks := r.bc.Tasks()
	var ids []string
	for _, kind := range []kind{goesHome, strays, leavesHome} {
		for _, t := range tasks {
			if plan.empty() {
				return ids
			}
			if i := r.taker(&plan, t.Task, kind); i >= 0 {
				plan.give(ms.self, i)
				ms.list[i].trust.offer(now)
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
)

// taker returns the member that would claim a task first if it were released,
// by the rules of CanClaim; -1 when the task is of another kind, or the plan has
// no task for that one.
func (r *Rendezvous) taker(p *plan, t metafora.Task, want kind) int {
	ms := &r.members
	task := xxhash.Sum64String(t.ID())
	first, home := -1, -1
	var best, closest rank
	for i := range ms.list {
		if !r.mayRun(t, i) {
			continue
		}
		k := r.rank(i, task, p.loads[i], p.total)
		if first < 0 || k.before(best) {
			best, first = k, i
		}
		k.tier = free
		if home < 0 || k.before(closest) {
			closest, home = k, i
		}
	}
	if first < 0 || first == ms.self || best.tier > free {
		return -1
	}
	is := strays
	switch home {
	case first:
		is = goesHome
	case ms.self:
		is = leavesHome
	}
	hasQuota := p.quota[first] > 0 && (is == goesHome || ms.list[first].lacked)
	if is != want || !hasQuota && p.over == 0 {
		return -1
	}
	return first
}
