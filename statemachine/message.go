package statemachine

import (
	"errors"
	"time"
)

// ErrInvalidMessage says that a message is unknown or lacks what it needs.
var ErrInvalidMessage = errors.New("statemachine: invalid message")

// MessageCode names what a message asks for.
type MessageCode string

// Message asks for a change of state. It is a task's command and a
// StatefulHandler's answer. Its JSON form round-trips exactly.
type Message struct {
	Code MessageCode `json:"message"`
	// Until is when a sleep ends.
	Until time.Time `json:"until,omitzero"`
	// Err is the text of an error.
	Err string `json:"error,omitempty"`
}
