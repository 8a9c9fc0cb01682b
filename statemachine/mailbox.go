package statemachine

import (
	"fmt"
	"sync"
)

// mailbox is where a task's commands meet the task: they arrive at any time, from
// another goroutine, and are taken by whoever the current state has for them. It
// settles, under its lock, which commands a handler has received.
type mailbox struct {
	// wakeup holds a token after anything happened while no handler ran.
	wakeup chan struct{}

	mu      sync.Mutex   // guards what follows
	current Command      // the newest one, unless it was taken
	newest  uint64       // ID of the newest command that arrived
	leaving bool         // whether the task is to stop here
	open    chan Message // what the handler reads, nil while none runs; holds one
	shown   bool         // whether current is in open, or was taken from it
	handled uint64       // ID of the newest command that the handler took, or must not get
}

func newMailbox() mailbox { return mailbox{wakeup: make(chan struct{}, 1)} }

// deliver takes in a command, which replaces one that was not taken yet: so it
// has at the broker. A command that was delivered before, as its ID tells, is
// ignored. The error is that of a command which no handler can be given.
func (b *mailbox) deliver(cmd Command) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if cmd.ID <= b.newest {
		return nil
	}
	b.newest = cmd.ID
	if b.open == nil {
		b.current = cmd
		b.wake()
		return nil
	}
	if b.leaving {
		return nil // It stays at the broker for the next owner of the task.
	}
	b.withdraw()
	b.current = cmd
	return b.show()
}

// leave makes the task stop here. A handler that runs is told so, in place of a
// command that it has not taken.
func (b *mailbox) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leaving = true
	if b.open == nil {
		b.wake()
		return
	}
	b.withdraw()
	b.open <- Release()
}

func (b *mailbox) isLeaving() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.leaving
}

// take returns a command that is there for a task whose handler does not run.
func (b *mailbox) take() (cmd Command, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	cmd, b.current = b.current, Command{}
	return cmd, cmd.ID != 0
}

// connect returns the channel for one call of the handler. It belongs to this
// call alone: whoever still reads it after disconnect finds nothing there, ever.
func (b *mailbox) connect() (commands <-chan Message, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open, b.handled = make(chan Message, 1), 0
	if b.leaving {
		b.open <- Release()
	} else if b.current.ID != 0 {
		err = b.show()
	}
	return b.open, err
}

// disconnect ends what connect began. It returns the ID of the command that the
// handler's answer handles, or 0. A command that the handler has not taken is
// there for the next state.
func (b *mailbox) disconnect() (handled uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.withdraw()
	b.open = nil
	return b.handled
}

// show puts the current command into the handler's channel, which is empty.
func (b *mailbox) show() error {
	if _, err := target(Runnable, b.current.Message); err != nil {
		b.handled, b.current = b.current.ID, Command{}
		return fmt.Errorf("command %d: %w", b.handled, err)
	}
	b.open <- b.current.Message
	b.shown = true
	return nil
}

// withdraw empties the handler's channel. If the handler was faster, it has
// received the current command.
func (b *mailbox) withdraw() {
	select {
	case <-b.open:
	default:
		if b.shown {
			b.handled, b.current = b.current.ID, Command{}
		}
	}
	b.shown = false
}

func (b *mailbox) wake() {
	select {
	case b.wakeup <- struct{}{}:
	default:
	}
}
