package statemachine

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrInvalidState says that a state is unknown or lacks what it needs.
var ErrInvalidState = errors.New("statemachine: invalid state")

const (
	// MaxErrors is how many errors a State keeps: the latest ones.
	MaxErrors = 16
	// MaxErrorLen is the length limit of the text of each of them, in bytes.
	// A longer one is cut.
	MaxErrorLen = 4 << 10
)

// StateCode names a state.
type StateCode string

// The states. Completed, Failed and Killed are terminal.
const (
	// Runnable is the state of a task whose StatefulHandler is to run, and the
	// first state of every task.
	Runnable StateCode = "runnable"
	// Sleeping is the state of a task that waits for its deadline.
	Sleeping StateCode = "sleeping"
	// Paused is the state of a task that waits for a command.
	Paused StateCode = "paused"
	// Fault is the state of a task that waits for an operator, who looks into
	// its errors and then sends it to sleep or lets it fail.
	Fault StateCode = "fault"
	// Completed is the state of a task whose handler finished the work.
	Completed StateCode = "completed"
	// Failed is the state of a task that was given up after errors.
	Failed StateCode = "failed"
	// Killed is the state of a task that was ended from outside.
	Killed StateCode = "killed"
)

// Terminal reports whether a task in this state is over: it never runs again
// and no message changes its state.
func (c StateCode) Terminal() bool {
	return c == Completed || c == Failed || c == Killed
}

func (c StateCode) known() bool {
	switch c {
	case Runnable, Sleeping, Paused, Fault:
		return true
	}
	return c.Terminal()
}

// State is where a task is in its life. Its JSON form round-trips exactly:
// times are kept in UTC, to the nanosecond, without a monotonic reading.
type State struct {
	Code StateCode `json:"state"`
	// Since is when the task entered this state.
	Since time.Time `json:"since,omitzero"`
	// Until is when a sleeping task wakes.
	Until time.Time `json:"until,omitzero"`
	// Errors are the latest errors of the task, oldest first. They stay when
	// the state changes, so that an ErrHandler can count them.
	Errors []TaskError `json:"errors,omitempty"`
}

// TaskError is an error of a task, and when it happened.
type TaskError struct {
	Time  time.Time `json:"time"`
	Error string    `json:"error"`
}

// Valid returns an error that wraps [ErrInvalidState] unless s is a known state
// with what it needs: a sleeping task has a deadline and no other has one, a
// fault and a failed task have an error, and all times can be stored.
func (s State) Valid() error {
	switch {
	case !s.Code.known():
		return fmt.Errorf("%w: unknown state %.64q", ErrInvalidState, s.Code)
	case s.Code == Sleeping && s.Until.IsZero():
		return fmt.Errorf("%w: %s without a deadline", ErrInvalidState, s.Code)
	case s.Code != Sleeping && !s.Until.IsZero():
		return fmt.Errorf("%w: %s with a deadline", ErrInvalidState, s.Code)
	case (s.Code == Fault || s.Code == Failed) && len(s.Errors) == 0:
		return fmt.Errorf("%w: %s without an error", ErrInvalidState, s.Code)
	case !storable(s.Since) || !storable(s.Until):
		return fmt.Errorf("%w: %s: a time is out of range", ErrInvalidState, s.Code)
	}
	for _, e := range s.Errors {
		if !storable(e.Time) {
			return fmt.Errorf("%w: %s: the time of an error is out of range", ErrInvalidState, s.Code)
		}
	}
	return nil
}

// Copy returns a State that shares nothing with s.
func (s State) Copy() State {
	s.Errors = slices.Clone(s.Errors)
	return s
}

// Equal reports whether s and t are the same state. Times are equal when they
// are the same instant.
func (s State) Equal(t State) bool {
	return s.Code == t.Code && s.Since.Equal(t.Since) && s.Until.Equal(t.Until) &&
		slices.EqualFunc(s.Errors, t.Errors, func(a, b TaskError) bool {
			return a.Time.Equal(b.Time) && a.Error == b.Error
		})
}

// String returns the state for people, such as
// "sleeping until 2026-01-02T15:04:05Z (2 errors)".
func (s State) String() string {
	text := string(s.Code)
	if !s.Until.IsZero() {
		text += " until " + utc(s.Until).Format(time.RFC3339Nano)
	}
	switch n := len(s.Errors); n {
	case 0:
		return text
	case 1:
		return text + " (1 error)"
	default:
		return fmt.Sprintf("%s (%d errors)", text, n)
	}
}

// withError appends an error to errs, and drops the oldest where there would be
// too many.
func withError(errs []TaskError, at time.Time, text string) []TaskError {
	return latest(append(errs, TaskError{Time: utc(at), Error: cleanText(text)}))
}

// latest returns the last MaxErrors of errs.
func latest(errs []TaskError) []TaskError {
	return errs[max(0, len(errs)-MaxErrors):]
}
