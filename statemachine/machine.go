package statemachine

import (
	"context"
	"sync"

	"github.com/metafora-go/metafora"
)

// StatefulHandler does the work of a task in state runnable. Its answer decides
// the next state; the plainest handler answers each command with that command:
//
//	select {
//	case m := <-commands:
//		return m
//	case <-workIsFinished:
//		return statemachine.Complete()
//	}
//
// It may as well clean up first, answer something else, or pass a command over.
// A command counts as handled with the answer that follows it, whatever that
// is: the new state and the removal of the command are one write. It is
// received again, by the next handler, only if that write did not happen.
//
// When the task is to stop here, commands holds Release: answer it soon. What is
// answered instead is stored, and the task is released all the same. ctx
// carries the claim ([metafora.ClaimFromContext]) and ends when the claim is
// lost or the drain timeout passed; commands holds Release then as well. After a
// loss no answer is stored; at the drain timeout the claim is still this node's,
// and an answer given at once may be.
//
// Run and Checkpoint reach a running handler as well. It can answer them, and is
// called again, or go on, and have them removed with its next answer.
//
// commands holds one message; it is never closed, and belongs to this one call.
// An answer that is invalid, or not allowed in state runnable, is taken for an
// Error that names both. So is a panic, with its stack.
type StatefulHandler func(ctx context.Context, task metafora.Task, commands <-chan Message) Message

// Machine runs one task as its state says: it implements [metafora.Handler]. It
// costs no goroutine but the Consumer's own, which is parked while the task
// sleeps, is paused or waits in fault; where the CommandListener is no
// [CommandCaller] it costs one more.
type Machine struct {
	*config
	task metafora.Task
	mail mailbox

	mu    sync.Mutex // guards state, which Run alone writes, and so may read without
	state State      // zero before it is loaded, then as it is stored
}

// New returns the Machine of one task. Its state is kept in s, its commands
// come from l.
func New(task metafora.Task, h StatefulHandler, s StateStore, l CommandListener, opts ...Option) *Machine {
	return newMachine(task, newConfig(h, s, l, opts))
}

// HandlerFunc returns what a [metafora.Consumer] needs to run tasks as
// Machines: a function that calls New for each. It returns nil, which
// metafora.NewConsumer refuses, where h, s or l is nil.
func HandlerFunc(h StatefulHandler, s StateStore, l CommandListener, opts ...Option) metafora.HandlerFunc {
	if h == nil || s == nil || l == nil {
		return nil
	}
	c := newConfig(h, s, l, opts)
	return func(task metafora.Task) metafora.Handler { return newMachine(task, c) }
}

func newMachine(task metafora.Task, c *config) *Machine {
	return &Machine{config: c, task: task, mail: newMailbox()}
}

// Run takes the task from its stored state, that of a new task being runnable,
// through the states that answers and commands lead to. It returns true once a
// terminal state is stored, and false where the task is to be released: after
// Stop, after a Release, when ctx ended, when the claim turned out not to be
// current, and when the state could not be loaded or stored for a while. It
// returns after its handler has.
//
// A stored state that cannot be parsed stays as it is. The task waits in state
// fault for an operator's command, which overwrites it.
func (m *Machine) Run(ctx context.Context) (done bool) {
	t := newTenure(ctx, m)
	return t != nil && t.run(ctx)
}

// Stop makes Run return false soon, in whichever state the task is, and does
// not wait for it. A handler that runs finds Release among its commands.
func (m *Machine) Stop() { m.mail.leave() }

// State returns the state of the task, and false before Run has loaded it. It
// is safe for concurrent use.
func (m *Machine) State() (State, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state.Copy(), m.state.Code != ""
}

func (m *Machine) setState(s State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = s
}
