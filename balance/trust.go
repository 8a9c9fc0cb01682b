package balance

import "time"

const (
	firstSilence = 10 * time.Second
	maxSilence   = 10 * time.Minute
)

// trust tells whether a node takes the tasks that are left to it. One that hangs,
// or whose own reasons (its memory is full, say) make it refuse, looks like a
// node with room for more: all others would wait for it in vain, or release
// tasks to it over and over. A node that let a task pass is called silent, and
// no longer counted on, until its count grows or a time has passed that
// doubles with each vain attempt.
type trust struct {
	owned   int
	rose    time.Time // when the count last grew, or was first seen
	until   time.Time // silent until then
	silence time.Duration
	offered time.Time // when a task was last released to it, zero once judged
}

// observe notes how many tasks the node owns.
func (t *trust) observe(now time.Time, owned int) {
	if owned > t.owned || t.rose.IsZero() {
		*t = trust{rose: now, offered: t.offered}
	}
	t.owned = owned
}

// doubt says that the node had a task to take since then. It reports whether the
// node is silent from now on.
func (t *trust) doubt(now, since time.Time) bool {
	if t.rose.After(since) || t.silent(now) {
		return false
	}
	t.silence = min(max(2*t.silence, firstSilence), maxSilence)
	t.until = now.Add(t.silence)
	return true
}

// offer notes that a task is released for the node to take.
func (t *trust) offer(now time.Time) {
	if t.offered.IsZero() {
		t.offered = now
	}
}

// took reports whether the node took a task since one was offered to it.
func (t *trust) took() bool { return !t.offered.IsZero() && t.rose.After(t.offered) }

// judge doubts a node that was offered a task and took none since.
func (t *trust) judge(now time.Time) {
	if !t.offered.IsZero() {
		t.doubt(now, t.offered)
		t.offered = time.Time{}
	}
}

func (t *trust) silent(now time.Time) bool { return now.Before(t.until) }
