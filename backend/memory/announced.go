package memory

import (
	"reflect"

	"github.com/metafora-go/metafora"
)

// announcements tell which Coordinators, by their number, have announced a
// task. Claims need it: a Task that was announced before its ID was submitted
// anew must not claim the new submission, with the properties of the old one.
// A set per task, rather than a map of tasks per Coordinator, keeps this small
// where hundreds of nodes watch the same tasks.
type announcements struct {
	current nodeSet // announced this submission
	earlier nodeSet // announced an earlier submission of the ID
	// latest has the Task last announced, for Coordinators in both sets: the
	// only ones that can be given Tasks of two submissions.
	latest map[int]metafora.Task
}

// note records that Coordinator n is about to announce t.
func (a *announcements) note(n int, t metafora.Task) {
	a.current.add(n)
	if !a.earlier.has(n) {
		return
	}
	if a.latest == nil {
		a.latest = make(map[int]metafora.Task)
	}
	a.latest[n] = t
}

// stale reports whether t, in the hands of Coordinator n's Consumer, is known
// to belong to an earlier submission. A Task that was never announced is not.
func (a *announcements) stale(n int, t metafora.Task) bool {
	return a.earlier.has(n) && !(a.current.has(n) && sameTask(a.latest[n], t))
}

// everSeen returns who announced this submission or an earlier one.
func (a *announcements) everSeen() nodeSet { return union(a.current, a.earlier) }

// forget makes the number n free for another Coordinator.
func (a *announcements) forget(n int) {
	a.current.remove(n)
	a.earlier.remove(n)
	delete(a.latest, n)
}

// sameTask compares by == where the types allow it, else by content.
func sameTask(a, b metafora.Task) bool {
	if reflect.TypeOf(a) != reflect.TypeOf(b) {
		return false
	}
	if reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() {
		return a == b
	}
	return reflect.DeepEqual(a, b)
}

// maxEnded bounds the memory of tasks that are no more. A Task is claimed soon
// after it was announced or not at all, so that the oldest can be forgotten.
const maxEnded = 1 << 16

// endedTasks remembers who announced tasks that are done or deleted since.
type endedTasks struct {
	byID  map[string]*endedTask
	order []*endedTask // oldest first; some are no longer in byID
}

type endedTask struct {
	id   string
	seen nodeSet
}

func (e *endedTasks) add(id string, seen nodeSet) {
	if len(seen) == 0 {
		return
	}
	t := &endedTask{id: id, seen: seen}
	e.byID[id] = t
	e.order = append(e.order, t)
	if len(e.order) > maxEnded {
		if oldest := e.order[0]; e.byID[oldest.id] == oldest {
			delete(e.byID, oldest.id)
		}
		e.order = e.order[1:]
	}
}

// take returns who announced the ID before and forgets it.
func (e *endedTasks) take(id string) nodeSet {
	t := e.byID[id]
	if t == nil {
		return nil
	}
	delete(e.byID, id)
	seen := t.seen
	t.seen = nil // t stays in order
	return seen
}

func (e *endedTasks) forget(n int) {
	for _, t := range e.order {
		t.seen.remove(n)
	}
}

// nodeSet is a set of the small numbers of Coordinators, as bits.
type nodeSet []uint64

func (s *nodeSet) add(n int) {
	for len(*s) <= n/64 {
		*s = append(*s, 0)
	}
	(*s)[n/64] |= 1 << (n % 64)
}

func (s nodeSet) remove(n int) {
	if n/64 < len(s) {
		s[n/64] &^= 1 << (n % 64)
	}
}

func (s nodeSet) has(n int) bool {
	return n/64 < len(s) && s[n/64]&(1<<(n%64)) != 0
}

func union(a, b nodeSet) nodeSet {
	if len(a) < len(b) {
		a, b = b, a
	}
	if len(a) == 0 {
		return nil
	}
	u := append(nodeSet(nil), a...)
	for i, bits := range b {
		u[i] |= bits
	}
	return u
}
