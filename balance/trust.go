package balance

import "time"

const (
	firstSilence = 5 * time.Second
	maxSilence   = 10 * time.Minute
)

// trust tells whether a node takes the tasks that are left to it. One that hangs,
// or refuses for reasons of its own (its memory is full, say), looks like a node
// with room for more: all others would wait for it in vain, and release tasks to
// it over and over.
//
// A node that let tasks pass is silent for a time, which doubles from one to the
// next: the others do not wait for it at all. After that, and until its count
// grows, it is on probation: it has its place in the order of a task, but is not
// thought to have a share.
//
// All nodes doubt a node for the same reasons at the same time, the doubted one
// included. So it does not matter much that a healthy one is doubted now and
// then, when a task of its own was done as it claimed another: the others and it
// still agree on who goes first.
type trust struct {
	until   time.Time // silent until then
	silence time.Duration
}

// confirm says that the node took a task.
func (t *trust) confirm() { *t = trust{} }

// doubt says that the node let a task pass.
func (t *trust) doubt(now time.Time) {
	if !t.silent(now) {
		t.silence = min(max(2*t.silence, firstSilence), maxSilence)
		t.until = now.Add(t.silence)
	}
}

func (t *trust) silent(now time.Time) bool { return now.Before(t.until) }

func (t *trust) onProbation() bool { return t.silence > 0 }
