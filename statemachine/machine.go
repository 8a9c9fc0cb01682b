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
// lost, when the drain timeout passed, and when the handler has returned. Once
// it ended, no answer is stored, but for one given within moments of the drain
// timeout.
//
// Run and Checkpoint reach a running handler as well. It can answer them, and is
// called again, or go on, and have them removed with its next answer.
//
// commands holds one message; it is never closed, and belongs to this one call.
// An answer that is invalid, or not allowed in state runnable, is taken for an
// Error that names both. So is a panic, with its stack.
type StatefulHandler func(ctx context.Context, task metafora.Task, commands <-chan Message) Message

// Machine runs one task as its state says: it implements [metafora.Handler].
// While the task sleeps, is paused or waits in fault, the machine is one parked
// goroutine, the Consumer's own; while the handler runs there is one more.
type Machine struct {
	*config
	task     metafora.Task
	stopOnce sync.Once
	stop     chan struct{}

	mu    sync.Mutex // guards state
	state State      // for State; zero before it is loaded
}

// New returns the Machine of one task. Its state is kept in s, its commands
// come from l.
func New(task metafora.Task, h StatefulHandler, s StateStore, l CommandListener, opts ...Option) *Machine {
	return newMachine(task, newConfig(h, s, l, opts))
}

// HandlerFunc returns what a [metafora.Consumer] needs to run tasks as
// Machines: a function that calls New for each.
func HandlerFunc(h StatefulHandler, s StateStore, l CommandListener, opts ...Option) metafora.HandlerFunc {
	c := newConfig(h, s, l, opts)
	return func(task metafora.Task) metafora.Handler { return newMachine(task, c) }
}

func newMachine(task metafora.Task, c *config) *Machine {
	return &Machine{config: c, task: task, stop: make(chan struct{})}
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
	claim, ok := metafora.ClaimFromContext(ctx)
	if !ok {
		m.logger.Error("context of the machine has no claim", "task", m.task.ID())
		return false
	}
	t := &tenure{Machine: m, claim: claim}
	return t.run(ctx)
}

// Stop makes Run return false soon, in whichever state the task is, and does
// not wait for it. A handler that runs finds Release among its commands.
func (m *Machine) Stop() { m.stopOnce.Do(func() { close(m.stop) }) }

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

func (m *Machine) stopping() bool {
	select {
	case <-m.stop:
		return true
	default:
		return false
	}
}
