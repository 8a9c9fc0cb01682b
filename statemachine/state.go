package statemachine

import "time"

// StateCode names a state.
type StateCode string

// The states. Completed, Failed and Killed are terminal.
const (
	Runnable  StateCode = "runnable"
	Sleeping  StateCode = "sleeping"
	Paused    StateCode = "paused"
	Fault     StateCode = "fault"
	Completed StateCode = "completed"
	Failed    StateCode = "failed"
	Killed    StateCode = "killed"
)

// State is where a task is in its life. Its JSON form round-trips exactly.
type State struct {
	Code StateCode `json:"state"`
	// Since is when the task entered this state.
	Since time.Time `json:"since,omitzero"`
	// Until is when a sleeping task wakes.
	Until time.Time `json:"until,omitzero"`
	// Errors are the latest errors of the task, oldest first.
	Errors []TaskError `json:"errors,omitempty"`
}

// TaskError is an error of a task, and when it happened.
type TaskError struct {
	Time  time.Time `json:"time"`
	Error string    `json:"error"`
}
