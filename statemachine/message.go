package statemachine

import (
	"errors"
	"fmt"
	"time"
)

// ErrInvalidMessage says that a message is unknown or lacks what it needs.
var ErrInvalidMessage = errors.New("statemachine: invalid message")

// MessageCode names what a message asks for.
type MessageCode string

// The codes of the messages; see the function of each for what it means.
const (
	CodeRun        MessageCode = "run"
	CodeSleep      MessageCode = "sleep"
	CodePause      MessageCode = "pause"
	CodeKill       MessageCode = "kill"
	CodeError      MessageCode = "error"
	CodeComplete   MessageCode = "complete"
	CodeCheckpoint MessageCode = "checkpoint"
	CodeRelease    MessageCode = "release"
)

// Message asks for a change of state. It is a task's command and a
// StatefulHandler's answer. Its JSON form round-trips exactly. Messages made by
// the functions of this package can be compared with ==.
type Message struct {
	Code MessageCode `json:"message"`
	// Until is when a sleep ends.
	Until time.Time `json:"until,omitzero"`
	// Err is the text of an error.
	Err string `json:"error,omitempty"`
}

// Run makes a sleeping or paused task run. From a handler it means: run me
// again.
func Run() Message { return Message{Code: CodeRun} }

// Sleep makes a task sleep until a time. Of a time that has passed it wakes at
// once.
func Sleep(until time.Time) Message { return Message{Code: CodeSleep, Until: utc(until)} }

// Pause makes a task wait for a command.
func Pause() Message { return Message{Code: CodePause} }

// Kill ends a task for good.
func Kill() Message { return Message{Code: CodeKill} }

// Error says that a task met an error; the ErrHandler decides what follows.
// Sent to a task in state fault it makes the task fail. The message keeps the
// text of err, at most [MaxErrorLen] bytes of it; it is invalid without one.
func Error(err error) Message {
	if err == nil {
		return Message{Code: CodeError}
	}
	return Message{Code: CodeError, Err: cleanText(err.Error())}
}

// Complete says that the work of a task is finished.
func Complete() Message { return Message{Code: CodeComplete} }

// Checkpoint keeps the state. A handler that answers it has its command removed
// and runs again.
func Checkpoint() Message { return Message{Code: CodeCheckpoint} }

// Release keeps the state and hands the task over: any node may claim it.
func Release() Message { return Message{Code: CodeRelease} }

// Valid returns an error that wraps [ErrInvalidMessage] unless m is a known
// message with what it needs and no more: Sleep has a deadline that can be
// stored, Error has a text, and no other message has either.
func (m Message) Valid() error {
	switch m.Code {
	case CodeRun, CodeSleep, CodePause, CodeKill, CodeError, CodeComplete, CodeCheckpoint, CodeRelease:
	default:
		return fmt.Errorf("%w: unknown message %.64q", ErrInvalidMessage, m.Code)
	}
	switch {
	case (m.Code == CodeSleep) == m.Until.IsZero():
		return fmt.Errorf("%w: %s %s a deadline", ErrInvalidMessage, m.Code, withOrWithout(!m.Until.IsZero()))
	case (m.Code == CodeError) == (m.Err == ""):
		return fmt.Errorf("%w: %s %s the text of an error", ErrInvalidMessage, m.Code, withOrWithout(m.Err != ""))
	case !storable(m.Until):
		return fmt.Errorf("%w: %s: the deadline is out of range", ErrInvalidMessage, m.Code)
	}
	return nil
}

// String returns the message for people, such as "error: disk full".
func (m Message) String() string {
	text := string(m.Code)
	if m.Code == "" {
		text = "empty message"
	}
	if !m.Until.IsZero() {
		text += " until " + utc(m.Until).Format(time.RFC3339Nano)
	}
	if m.Err != "" {
		text += ": " + m.Err
	}
	return text
}

func withOrWithout(with bool) string {
	if with {
		return "with"
	}
	return "without"
}
