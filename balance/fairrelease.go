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
	f.members.reloadToGive(now, f.bc.Count())
	if f.members.self < 0 || f.damper.pauses(now, f.members.changes) {
		return nil
	}
	clear(f.released)
	ids := f.choose()
	for _, id := range ids {
		f.released[id] = struct{}{}
	}
	f.damper.released(now, len(ids))
	return ids
}

// choose selects the tasks to release.
func (f *Fair) choose() []string {
	above, part := f.above(), f.part()
	if above <= 0 || f.asOf != f.members.changes {
		clear(f.unwanted)
		f.asOf = f.members.changes
	}
	if max(above, part) <= 0 {
		return nil
	}
	tasks := f.bc.Tasks()
	return oldest(tasks, max(above-f.stillUnwanted(tasks), part))
}

// stillUnwanted counts the unwanted tasks among those that run, and forgets others.
func (f *Fair) stillUnwanted(running []metafora.RunningTask) int {
	still := make(map[string]struct{})
	for _, t := range running {
		if _, ok := f.unwanted[t.ID()]; ok {
			still[t.ID()] = struct{}{}
		}
	}
	f.unwanted = still
	return len(still)
}

// above returns how many tasks this node has above the threshold.
func (f *Fair) above() int {
	ms := &f.members
	return ms.list[ms.self].owned - f.limit(ms.owned)
}

// part returns this node's part of what nodes far below their share lack.
func (f *Fair) part() int {
	ms := &f.members
	row, lack := ms.row(ms.owned), 0
	for i := range ms.list {
		if f.needy(i, ms.owned) {
			lack += floor(ms.share(i, ms.owned)) - ms.list[i].owned
		}
	}
	return row.portion(min(1, float64(lack)/max(row.length, 1)), 0)
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
