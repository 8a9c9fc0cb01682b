package balance

import "time"

// minTurn is the shortest time for which a waiting task is remembered.
const minTurn = 10 * time.Second

// waiting remembers since when tasks wait to be claimed, so that a balancer
// that told one to come back later says yes when it does.
//
// A balancer is told that a task was announced anew, but not that another node
// took it, so entries are dropped by age: they live in two generations, of which
// the older goes when the newer has lasted twice the longest wait. Tasks are known
// by hash and times as offsets: a map without pointers costs the garbage collector
// nothing.
type waiting struct {
	// grace is how late a task may come back and still be taken for the one
	// that was sent away, rather than for one that was owned meanwhile and is
	// announced anew, of which a balancer wrapped in another may not be told.
	// Without the difference, all nodes that remember a task from before would
	// claim it at once.
	grace time.Duration

	base          time.Time
	newer, older  map[uint64]wait
	turned        time.Duration
	longest, last time.Duration // the longest wait in newer, and in older
}

type wait struct {
	since, due time.Duration
	// late counts how often the task came back after its grace. Each time
	// doubles the grace, so that a node too busy to be punctual gets there.
	late  uint8
	fresh bool // it was not waiting before
}

const maxLate = 8

func newWaiting(grace time.Duration) waiting {
	return waiting{grace: grace, newer: make(map[uint64]wait)}
}

// forget drops a task that has had an owner since it was waiting.
func (w *waiting) forget(task uint64) {
	delete(w.newer, task)
	delete(w.older, task)
}

// recall returns what is remembered of a task.
func (w *waiting) recall(task uint64, now time.Time) wait {
	if w.base.IsZero() {
		w.base = now
	}
	at := now.Sub(w.base)
	w.turn(at)
	e, known := w.newer[task]
	if !known {
		e, known = w.older[task]
	}
	switch {
	case !known:
		e = wait{since: at, fresh: true}
	case at > e.due+w.grace<<e.late:
		e = wait{since: at, fresh: true, late: min(e.late+1, maxLate)}
	}
	return e
}

// ready tells whether a task may be claimed that is to wait for d since it was
// first seen, and until when it waits if not. e is what was recalled of it.
func (w *waiting) ready(task uint64, e wait, now time.Time, d time.Duration) (until time.Time, ok bool) {
	if e.fresh && d <= 0 {
		return now, true
	}
	w.longest = max(w.longest, d)
	e.due = e.since + d
	if at := now.Sub(w.base); at >= e.due {
		// It stays ready for its grace: another balancer may have a say.
		e.due, ok = at, true
	}
	e.fresh = false
	w.newer[task] = e
	return w.base.Add(e.due), ok
}

// turn drops the older generation when its time has come.
func (w *waiting) turn(at time.Duration) {
	if at-w.turned < max(minTurn, 2*max(w.longest, w.last)) {
		return
	}
	w.older, w.newer = w.newer, make(map[uint64]wait)
	w.turned, w.last, w.longest = at, w.longest, 0
}
