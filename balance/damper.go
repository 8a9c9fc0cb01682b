package balance

import "time"

const (
	firstPause = 5 * time.Second
	maxPause   = 5 * time.Minute
)

// damper keeps balancing from swinging. What a round releases shows in the counts
// only after handlers have stopped and others have claimed; a round that came
// earlier would release the same again. So a node pauses after a round that
// released tasks, and twice as long when it has to release more before it had
// some calm: should something make releases futile, which these balancers try to
// rule out, they become rare. A change of the cluster ends that.
type damper struct {
	changes int // of the cluster, as last seen
	pause   time.Duration
	until   time.Time
}

// pauses tells whether this round must release nothing. changes counts the changes
// of the cluster.
func (d *damper) pauses(now time.Time, changes int) bool {
	if changes != d.changes || now.Sub(d.until) > maxPause {
		*d = damper{changes: changes}
	}
	return now.Before(d.until)
}

// released notes how many tasks a round released.
func (d *damper) released(now time.Time, n int) {
	if n > 0 {
		d.pause = min(max(2*d.pause, firstPause), maxPause)
		d.until = now.Add(d.pause)
	}
}
