package metafora

import "time"

// EventKind says what an Event tells of.
type EventKind string

// The kinds of events, and what Event.Took means for each.
const (
	// EventClaimed: a claim was won. Took: the claim's round trip.
	EventClaimed EventKind = "claimed"
	// EventMissed: a claim was refused, another node was faster or the task
	// gone. Took: the claim's round trip.
	EventMissed EventKind = "missed"
	// EventClaimFailed: the broker failed. Took: the claim's round trip.
	EventClaimFailed EventKind = "claim_failed"
	// EventRefused: the Balancer refused a task for now.
	EventRefused EventKind = "refused"
	// EventStarted: a handler is about to run. Took: the time since the task
	// was announced to this node.
	EventStarted EventKind = "started"
	// EventDone: a task is done. Took: how long its handler ran.
	EventDone EventKind = "done"
	// EventReleased: a task was handed over. Took: how long its handler ran.
	EventReleased EventKind = "released"
	// EventLost: a claim was lost. Took: how long it was held.
	EventLost EventKind = "lost"
	// EventPanicked: a handler panicked. Err holds what and where.
	EventPanicked EventKind = "panicked"
	// EventBalanced: a round of balancing. Count: tasks asked to stop.
	EventBalanced EventKind = "balanced"
)

// Event is something that happened in a Consumer.
type Event struct {
	Kind   EventKind
	TaskID string
	Took   time.Duration
	Count  int
	Err    error
}
