package balance

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Nobody says when a task is gone, so entries must go by themselves.
func TestWaitingForgetsTasksThatDoNotComeBack(t *testing.T) {
	w := newWaiting(100 * time.Millisecond)
	now := time.Unix(0, 0)
	const perSecond, longest = 100, 30 * time.Second
	for task := range uint64(100_000) {
		now = now.Add(time.Second / perSecond)
		w.ready(task, w.recall(task, now), now, longest)
		// Two generations, each of twice the longest wait.
		if n := len(w.newer) + len(w.older); n > 2*2*perSecond*int(longest/time.Second)+2 {
			t.Fatalf("%d entries after %d tasks", n, task)
		}
	}
}

// However other tasks come and go, one that comes back when it was told to waits
// exactly as long as it was to.
func TestWaitingKeepsItsPromise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWaiting(100 * time.Millisecond)
		start := time.Unix(0, 0)
		d := time.Duration(rapid.IntRange(1, 100_000).Draw(t, "wait (ms)")) * time.Millisecond
		ask := func(task uint64, now time.Time, d time.Duration) (until time.Time, ok, fresh bool) {
			e := w.recall(task, now)
			until, ok = w.ready(task, e, now, d)
			return until, ok, e.fresh
		}
		until, ok, fresh := ask(1, start, d)
		if ok || !fresh || !until.Equal(start.Add(d)) {
			t.Fatalf("first: until %v, %v, %v", until, ok, fresh)
		}
		others := rapid.SliceOf(rapid.IntRange(0, 100_000)).Draw(t, "others (ms)")
		for now, i := start, 0; i < len(others); i++ {
			now = now.Add(time.Duration(others[i]) * time.Millisecond)
			if now.After(until) {
				break
			}
			ask(uint64(2+i), now, time.Duration(others[i])*time.Millisecond)
		}
		if _, ok, fresh := ask(1, until, d); !ok || fresh {
			t.Fatal("not ready when it comes back, or not known any more")
		}
	})
}
