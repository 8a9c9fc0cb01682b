package statemachine

import (
	"context"
	"errors"

	"github.com/metafora-go/metafora"
)

var (
	// ErrNoState says that no state is stored for a task.
	ErrNoState = errors.New("statemachine: no stored state")
	// ErrCorruptState says that a stored state cannot be parsed. It stays as
	// it is until somebody mends or overwrites it.
	ErrCorruptState = errors.New("statemachine: stored state is corrupt")
)

// StateStore keeps the states of tasks. All methods are safe for concurrent use
// and settle writes whose reply was lost.
type StateStore interface {
	// Load returns the state that is stored for the task of a claim. The error
	// wraps ErrNoState where there is none since the task was submitted,
	// ErrCorruptState where it cannot be parsed, metafora.ErrNotOwner where c
	// is known not to be current.
	Load(ctx context.Context, c metafora.Claim) (State, error)

	// Store writes s if c is current, and in the same atomic write removes the
	// command whose ID is handled, unless a newer one has replaced it. 0
	// stands for no command. metafora.ErrNotOwner: c is not current; nothing
	// was touched.
	Store(ctx context.Context, c metafora.Claim, s State, handled uint64) error
}

// Commander sends commands to tasks.
type Commander interface {
	// Send leaves m for a task, which gets it once, when it runs, however
	// often it is handed over before. A command that is still pending is
	// replaced: the newest wins. metafora.ErrNoTask: no such task.
	// ErrInvalidMessage: m is no valid command. Safe for concurrent use.
	Send(ctx context.Context, taskID string, m Message) error
}

// Command is a Message on its way to a task.
type Command struct {
	// ID tells commands of one task apart; it grows and is never 0.
	ID      uint64
	Message Message
}

// CommandListener delivers the commands that were sent to tasks of this node.
type CommandListener interface {
	// Listen returns the channel on which the commands for the task of a claim
	// arrive, beginning with the one that is pending now. The channel holds
	// one command: a newer one takes the place of one not yet received. It is
	// never closed. Listening costs the broker nothing. The caller calls stop
	// when it is through; a command that was received but not handled (see
	// StateStore.Store and Handled) is delivered again to the next listener.
	Listen(c metafora.Claim) (commands <-chan Command, stop func())

	// Handled removes a command if c is current and no newer command has
	// replaced it: one that changes no state, so that there is nothing to
	// store. A StateStore that is not of the same broker calls it as well, once
	// it has stored the state. metafora.ErrNotOwner: c is not current; nothing
	// was touched.
	Handled(ctx context.Context, c metafora.Claim, id uint64) error
}

// CommandCaller is a CommandListener that calls back, so that a running task
// needs no goroutine that waits for its commands. A Machine calls ListenFunc in
// place of Listen where there is one.
type CommandCaller interface {
	CommandListener

	// ListenFunc has deliver called with the commands that Listen would send,
	// one at a time, maybe before ListenFunc returns. deliver does not block
	// and may be called with locks held: it calls nothing of this package's
	// interfaces. The caller calls stop when it is through; deliver is not
	// called after stop has returned.
	ListenFunc(c metafora.Claim, deliver func(Command)) (stop func())
}
