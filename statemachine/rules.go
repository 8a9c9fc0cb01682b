package statemachine

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrNotAllowed says that no rule allows a message in a state.
var ErrNotAllowed = errors.New("statemachine: message is not allowed in this state")

// Rule says that a message takes a task from one state to another.
type Rule struct {
	From  StateCode
	Event MessageCode
	To    StateCode
}

// String returns the rule as "from --event--> to".
func (r Rule) String() string {
	return fmt.Sprintf("%s --%s--> %s", r.From, r.Event, r.To)
}

// rules is never written to.
var rules = [...]Rule{
	{Runnable, CodeRun, Runnable},
	{Runnable, CodeSleep, Sleeping},
	{Runnable, CodePause, Paused},
	{Runnable, CodeKill, Killed},
	{Runnable, CodeError, Fault},
	{Runnable, CodeComplete, Completed},
	{Runnable, CodeCheckpoint, Runnable},
	{Runnable, CodeRelease, Runnable},

	{Sleeping, CodeRun, Runnable},
	{Sleeping, CodeSleep, Sleeping},
	{Sleeping, CodePause, Paused},
	{Sleeping, CodeKill, Killed},
	{Sleeping, CodeError, Fault},
	{Sleeping, CodeCheckpoint, Sleeping},
	{Sleeping, CodeRelease, Sleeping},

	{Paused, CodeRun, Runnable},
	{Paused, CodeSleep, Sleeping},
	{Paused, CodePause, Paused},
	{Paused, CodeKill, Killed},
	{Paused, CodeCheckpoint, Paused},
	{Paused, CodeRelease, Paused},

	{Fault, CodeSleep, Sleeping},
	{Fault, CodeError, Failed},
	{Fault, CodeCheckpoint, Fault},
	{Fault, CodeRelease, Fault},
}

// Rules returns the whole table of what may happen to a task, by state. What it
// does not list is not allowed; no rule leaves a terminal state.
func Rules() []Rule { return slices.Clone(rules[:]) }

// Next returns the state that m leads to at a time now, as the rules say. It
// only computes: a handler's error leads to Fault here, and it is the machine
// that asks its [ErrHandler] next.
//
// Checkpoint and Release keep the state as it is, a sleeper's deadline too.
// Since moves on when the state or the deadline is another one. The error of an
// Error message joins the errors of the state. Errors wrap [ErrInvalidMessage]
// or [ErrNotAllowed]; they name the message and the state.
func Next(from State, m Message, now time.Time) (State, error) {
	to, err := target(from.Code, m)
	if err != nil {
		return State{}, err
	}
	next := from.canonical()
	next.Code = to
	switch m.Code {
	case CodeCheckpoint, CodeRelease:
		return next, nil
	case CodeSleep:
		next.Until = utc(m.Until)
	case CodeError:
		next.Errors = withError(next.Errors, now, m.Err)
		next.Until = time.Time{}
	default:
		next.Until = time.Time{}
	}
	if next.Code != from.Code || !next.Until.Equal(from.Until) {
		next.Since = utc(now)
	}
	return next, nil
}

// target returns where m leads from a state.
func target(from StateCode, m Message) (StateCode, error) {
	if err := m.Valid(); err != nil {
		return "", fmt.Errorf("in state %s: %w", from, err)
	}
	for _, r := range rules {
		if r.From == from && r.Event == m.Code {
			return r.To, nil
		}
	}
	return "", fmt.Errorf("%w: %s in state %s", ErrNotAllowed, m, from)
}
