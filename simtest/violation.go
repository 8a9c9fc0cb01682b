package simtest

import "fmt"

// The invariants, by name.
const (
	oneOwner      = "one owner: a claim is made only on a task without owner"
	fencesGrow    = "fences grow: each claim of a task has a larger fence than all before"
	noLoss        = "nothing acknowledged is lost: a task goes only when it is done or deleted"
	doneIsFinal   = "done is final: a finished task does not come back"
	handsOff      = "no hand of an old claim: a node changes only what its current claim covers"
	rightTask     = "right task: a handler has the task as it was submitted last"
	inTime        = "in time: a live handler has the current claim, and its context ends a margin before the lease does"
	oneName       = "one name: a name passes on only when the lease of the node that had it has ended"
	trueAlarm     = "true alarm: a claim is reported lost to another only when it is"
	commandsOnce  = "commands once: a command is handled once"
	freshState    = "fresh state: a state is stored only under the current claim"
	endIsFinal    = "end is final: a task in a terminal state stays in it, and does not run"
	oneWrite      = "one write: a state and the command that it follows from change together"
	sleepsOn      = "sleeps on: a task that sleeps, is paused or in fault runs only after its deadline or a command"
	frozenIdle    = "frozen: a frozen node claims nothing, one that was unfrozen takes tasks"
	drainedEmpty  = "drained: a node that drains stops its handlers, and holds nothing in the end"
	noLeak        = "no leak: no goroutine outlives its owner"
	noPanic       = "no panic: neither the checks of a test nor what they call panics"
	claimsUsed    = "used: a node that owns a task runs it, or gives it up soon"
	settles       = "settles: once faults stop, each task runs or is done"
	balanced      = "balanced: once faults stop, the nodes share the tasks"
	indexIsTrue   = "index: what a node knows is what the broker holds, once it has heard all"
	quiet         = "quiet: nodes come to rest, and what they try again they try less and less often"
	linearizable  = "linearizable: the claims can be put into one order"
	honestAnswers = "honest: an acknowledged call has taken effect"
	leavesCleanly = "leaves: a node that shuts down gives everything back"
)

// violation is an invariant that did not hold.
type violation struct {
	invariant string
	details   string
}

func (v *violation) Error() string { return v.invariant + ": " + v.details }

// violate ends the schedule. It must be called from the bubble's root goroutine.
func (s *Sim) violate(invariant, format string, args ...any) {
	panic(&violation{invariant: invariant, details: fmt.Sprintf(format, args...)})
}

// blame is violate for the goroutines of nodes: the schedule ends with the step.
func (s *Sim) blame(invariant, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blamed == nil {
		s.blamed = &violation{invariant: invariant, details: fmt.Sprintf(format, args...)}
	}
}
