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
	// Load returns the state that was last stored for the task of a claim. The
	// error wraps ErrNoState where there is none since the task was submitted,
	// ErrCorruptState where it cannot be parsed, metafora.ErrNotOwner where c
	// is known not to be current.
	//
	// The state may have been fetched along with the claim: while that is
	// current nobody else stores one. What is written to the broker by other
	// means, to mend a corrupt state say, is seen from the next claim on.
	Load(ctx context.Context, c metafora.Claim) (State, error)

	// Store writes s if c is current, and in the same atomic write removes the
	// command whose ID is handled, unless a newer one has replaced it: that
	// stays, and is delivered next. 0 stands for no command.
	// metafora.ErrNotOwner: c is not current; nothing was touched.
	Store(ctx context.Context, c metafora.Claim, s State, handled uint64) error
}

// Commander sends commands to tasks.
type Commander interface {
	// Send leaves m for a task, which gets it once, when it runs, however
	// often it is handed over before. It takes the place of a command that is
	// still pending: the newest wins. A replaced command may reach the task
	// all the same where the node learns late of the newer one; it takes
	// effect first then, the newest always last. Safe for concurrent use.
	//
	// metafora.ErrNoTask: no such task. ErrInvalidMessage: m is no valid
	// command. metafora.ErrUncertain: the broker did not answer in time, and m
	// was not pending when read back, which leaves open whether the task has
	// had it already.
	Send(ctx context.Context, taskID string, m Message) error
}

// Command is a Message on its way to a task.
type Command struct {
	// ID tells commands of one task apart; it grows and is never 0.
	ID      uint64
	Message Message
}

// CommandListener delivers the commands that were sent to tasks of this node. A
// listener gets the command that is pending when it begins, and those that come
// while it listens: each once, in the order of their IDs. Of several that come
// in quick succession, or while the node is cut off from the broker, it may miss
// all but the newest. What reaches the listener of a claim that was lost cannot
// be handled any more.
type CommandListener interface {
	// Listen returns the channel on which the commands for the task of a claim
	// arrive. The channel holds one command: a newer one takes the place of
	// one not yet received. It is never closed. Listening costs the broker
	// nothing. The caller calls stop when it is through: a command that was
	// not handled (see StateStore.Store and Handled), received or not, is
	// delivered again to the next listener.
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

	// ListenFunc is Listen, but that deliver is called with the commands, one
	// at a time, maybe before ListenFunc returns. deliver does not block, and
	// calls nothing of the backend: locks may be held around it. It is not
	// called any more once stop has returned.
	ListenFunc(c metafora.Claim, deliver func(Command)) (stop func())
}
