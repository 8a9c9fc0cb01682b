package metafora

import "time"

// Observer is told what a Consumer does as it happens, for metrics. Its methods
// are called concurrently, from the goroutines that do the work, and must not
// block. Implementations embed [NopObserver], so that methods added later do
// not break them.
type Observer interface {
	// Refused says that the Balancer put a task off until a later time.
	Refused(t Task, until time.Time)
	// Claimed says how an attempt to claim a task ended, and how long the
	// Coordinator took.
	Claimed(t Task, result ClaimResult, took time.Duration)
	// Running says that a handler is about to run, and how long ago its task
	// was announced to this node.
	Running(c Claim, sinceAnnounced time.Duration)
	// Returned says that a handler returned after it ran for some time.
	// A handler that panicked is done.
	Returned(c Claim, done bool, ran time.Duration)
	// Panicked says that a handler's Run or Stop, or the HandlerFunc, panicked.
	Panicked(c Claim, value any, stack []byte)
	// Lost says that a claim was lost while its handler ran.
	Lost(c Claim, cause error)
	// Done says that the broker has removed a task that is done.
	Done(c Claim)
	// Released says that the broker has taken a task back.
	Released(c Claim)
	// Balanced says that a balance round asked some tasks to stop.
	Balanced(stopped int)
}

// ClaimResult is how an attempt to claim a task ended.
type ClaimResult int

// The results of an attempt to claim a task.
const (
	ClaimWon    ClaimResult = iota // the task is this node's
	ClaimLost                      // it has an owner already
	ClaimGone                      // it is no longer there
	ClaimFailed                    // the broker could not tell; it is tried again
)

// String returns the result in one word.
func (r ClaimResult) String() string {
	switch r {
	case ClaimWon:
		return "won"
	case ClaimLost:
		return "lost"
	case ClaimGone:
		return "gone"
	case ClaimFailed:
		return "failed"
	}
	return "invalid"
}

// NopObserver is an [Observer] that does nothing.
type NopObserver struct{}

var _ Observer = NopObserver{}

// Refused implements [Observer].
func (NopObserver) Refused(Task, time.Time) {}

// Claimed implements [Observer].
func (NopObserver) Claimed(Task, ClaimResult, time.Duration) {}

// Running implements [Observer].
func (NopObserver) Running(Claim, time.Duration) {}

// Returned implements [Observer].
func (NopObserver) Returned(Claim, bool, time.Duration) {}

// Panicked implements [Observer].
func (NopObserver) Panicked(Claim, any, []byte) {}

// Lost implements [Observer].
func (NopObserver) Lost(Claim, error) {}

// Done implements [Observer].
func (NopObserver) Done(Claim) {}

// Released implements [Observer].
func (NopObserver) Released(Claim) {}

// Balanced implements [Observer].
func (NopObserver) Balanced(int) {}
