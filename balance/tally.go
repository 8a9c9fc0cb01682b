package balance

import "time"

// tally expects a count: what was counted, and what is on its way.
//
// Counts lag behind claims by a round trip, and know nothing of tasks that wait.
// When thousands of tasks are submitted at once, every node decides on most of
// them before the first claim is counted. A tally bridges that time: tasks that
// were seen within the last one or two windows, and by which the count has not
// risen yet, are on their way.
type tally struct {
	counted  int
	start    time.Time // of the current window
	current  window
	previous window
}

type window struct {
	coming int  // tasks seen in it, less by what the count rose
	rose   bool // the count did, in it
}

// observe notes a count. A new window begins when the current one has lasted for
// long enough. It reports whether tasks went out of sight by that, and the count
// has not risen at all since they were seen.
func (t *tally) observe(now time.Time, length time.Duration, counted int) (missed bool) {
	t.count(counted)
	age := now.Sub(t.start)
	if age < length {
		return false
	}
	gone := t.previous
	t.previous, t.current, t.start = t.current, window{}, now
	if age >= 2*length {
		gone.coming += t.previous.coming
		gone.rose = gone.rose || t.previous.rose
		t.previous = window{}
	}
	return gone.coming > 0 && !gone.rose && !t.previous.rose
}

// count notes a count in the course of a window. What arrived is taken from the
// older tasks first: else their going out of sight would leave a debt behind.
func (t *tally) count(counted int) {
	if rise := counted - t.counted; rise > 0 {
		old := min(rise, max(0, t.previous.coming))
		t.previous.coming -= old
		t.current.coming -= rise - old
		t.current.rose = true
	}
	t.counted = counted
}

// add says that a task is on its way.
func (t *tally) add() { t.current.coming++ }

// expected returns what the count will be once all that is on its way arrived.
func (t *tally) expected() int {
	return t.counted + max(0, t.previous.coming+t.current.coming)
}
