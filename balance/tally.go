package balance

import "time"

// tally expects a count: what was counted, or more when tasks that are on their
// way have not been counted yet.
//
// Counts lag behind claims by a round trip, and know nothing of tasks that wait.
// When thousands of tasks are submitted at once, every node decides on most of
// them before the first claim is counted. A tally bridges that time: it adds the
// tasks of the last one or two windows to what was counted before those.
type tally struct {
	start        time.Time
	base, before int // counted when this window and the one before it began
	added, prior int // expected in this window and the one before it
}

// roll begins a new window when the current one has lasted for the time window.
func (t *tally) roll(now time.Time, window time.Duration, counted int) {
	switch age := now.Sub(t.start); {
	case age < window:
	case age < 2*window:
		t.before, t.prior = t.base, t.added
		t.start, t.base, t.added = now, counted, 0
	default:
		*t = tally{start: now, base: counted, before: counted}
	}
}

// add says that n more tasks are on their way.
func (t *tally) add(n int) { t.added += n }

// expect returns what the count will be once all that is on its way arrived.
func (t *tally) expect(counted int) int {
	if t.prior+t.added == 0 {
		return counted
	}
	return max(counted, t.before+t.prior+t.added)
}
