package balance

import (
	"slices"
	"time"

	"github.com/metafora-go/metafora"
)

// Balance implements [metafora.Balancer]. A node above the threshold releases what
// is too much. Where a node is as far below its share, one that has just joined
// as a rule, all that have more than theirs release a part. The oldest tasks go
// first: they are the last to come by here again.
func (f *Fair) Balance() []string {
	now := time.Now()
	ms := &f.members
	ms.reload(now, f.bc.Count())
	clear(f.released)
	f.judge(now)
	if ms.self < 0 {
		return nil
	}
	n := max(f.above(), f.part())
	if n <= 0 || !f.offer(now) {
		return nil
	}
	ids := oldest(f.bc.Tasks(), n)
	for _, id := range ids {
		f.released[id] = struct{}{}
	}
	return ids
}

// above returns how many tasks this node has above the threshold.
func (f *Fair) above() int {
	ms := &f.members
	return ms.list[ms.self].owned - ceil(f.threshold*ms.share(ms.self, ms.owned))
}

// part returns this node's part of what nodes far below their share lack.
func (f *Fair) part() int {
	ms := &f.members
	start, row, lack := 0, 0, 0
	for i, m := range ms.list {
		if i == ms.self {
			start = row
		}
		row += ms.excess(i, ms.owned)
		if f.needy(i, ms.owned) {
			lack += floor(ms.share(i, ms.owned)) - m.owned
		}
	}
	return portion(float64(min(lack, row))/float64(max(row, 1)), 0, start, ms.excess(ms.self, ms.owned))
}

// offer marks the members below their share, which may take what is released. It
// reports whether there are any.
func (f *Fair) offer(now time.Time) bool {
	ms, any := &f.members, false
	for i := range ms.list {
		m := &ms.list[i]
		if i != ms.self && m.active && float64(m.owned) < ms.share(i, ms.owned) {
			m.trust.offer(now)
			any = true
		}
	}
	return any
}

// judge finds out whether what was released in an earlier round was taken. The
// takers are judged together, as few tasks do not suffice for all of them.
func (f *Fair) judge(now time.Time) {
	ms := &f.members
	taken := slices.ContainsFunc(ms.list, func(m member) bool { return m.trust.took() })
	for i := range ms.list {
		if t := &ms.list[i].trust; taken {
			t.offered = time.Time{}
		} else {
			t.judge(now)
		}
	}
	ms.sum(now)
}

// oldest returns the IDs of the n tasks that have run for longest.
func oldest(tasks []metafora.RunningTask, n int) []string {
	tasks = slices.Clone(tasks)
	slices.SortStableFunc(tasks, func(a, b metafora.RunningTask) int { return a.Started.Compare(b.Started) })
	ids := make([]string, min(n, len(tasks)))
	for i := range ids {
		ids[i] = tasks[i].ID()
	}
	return ids
}
