package balance

import "time"

const (
	firstSilence = 5 * time.Second
	maxSilence   = 10 * time.Minute
	firstTrial   = time.Minute
	maxTrial     = 24 * time.Hour
	// trialPatience is how long a node on trial waits for a task that comes by.
	trialPatience = time.Minute
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
// A healthy node can be doubted as well, one that was slow to start, say. So there are
// trials: a node on trial goes first for one task that comes by, or if none does
// another node releases one. The time from one trial to the next grows fourfold, so
// that few tasks wait, or move, in vain.
//
// All nodes doubt a node for the same reasons at the same time, the doubted one
// included. So it does not matter much that a healthy one is doubted now and
// then, when a task of its own was done as it claimed another: the others and it
// still agree on who goes first.
type trust struct {
	until   time.Time // silent until then
	silence time.Duration
	trial   time.Time // on trial from then on
	ask     time.Time // a task is to be released for it from then on
	pause   time.Duration
}

// confirm says that the node took a task.
func (t *trust) confirm() { *t = trust{} }

// doubt says that the node let a task pass.
func (t *trust) doubt(now time.Time) {
	if t.silent(now) {
		return
	}
	if !t.onProbation() || t.onTrial(now) {
		t.putOff(now)
		t.trial = t.ask.Add(-trialPatience)
	}
	t.silence = min(max(2*t.silence, firstSilence), maxSilence)
	t.until = now.Add(t.silence)
}

// putOff says that the node had a task to take, or is to have none for now.
func (t *trust) putOff(now time.Time) {
	t.pause = min(max(4*t.pause, firstTrial), maxTrial)
	t.ask = now.Add(t.pause + trialPatience)
}

func (t *trust) silent(now time.Time) bool { return now.Before(t.until) }

func (t *trust) onProbation() bool { return t.silence > 0 }

// onTrial tells whether the node goes first for a task that comes by.
func (t *trust) onTrial(now time.Time) bool {
	return t.onProbation() && !now.Before(t.trial) && !t.silent(now)
}

// needsTask tells whether a task is to be released for a node on trial, as none has
// come by.
func (t *trust) needsTask(now time.Time) bool { return t.onTrial(now) && !now.Before(t.ask) }
