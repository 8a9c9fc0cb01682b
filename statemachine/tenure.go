package statemachine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/metafora-go/metafora"
)

// tenure is a Machine's time under one claim. All of it belongs to the goroutine
// of Machine.Run.
type tenure struct {
	*Machine
	claim    metafora.Claim
	current  State // as it is stored, or as a new task's would be
	commands <-chan Command
	pending  Command // received, but not yet shown to anybody
	newest   uint64  // ID of the newest command received
}

// event is a message that is allowed in the current state, and the ID of the
// command that is handled with it, or 0.
type event struct {
	Message
	handled uint64
}

func (t *tenure) run(ctx context.Context) (done bool) {
	if t.stopping() {
		return false
	}
	if err := t.load(ctx); err != nil {
		t.reportFailure(ctx, "state not loaded, task is released", err)
		return false
	}
	if t.current.Code.Terminal() {
		t.logger.Info("task is over already", "task", t.claim.TaskID, "state", t.current)
		return true
	}
	commands, stopListening := t.listener.Listen(t.claim)
	defer stopListening()
	t.commands = commands

	// Stop is obeyed here, between states, so that it has the last word
	// whatever a handler answers, and has it only once the answer is stored.
	for !t.stopping() && ctx.Err() == nil {
		e, ok := t.await(ctx)
		if !ok {
			return false
		}
		if err := t.commit(ctx, t.follow(e.Message), e.handled); err != nil {
			t.reportFailure(ctx, "state not stored, task is released", err)
			return false
		}
		if t.current.Code.Terminal() {
			return true
		}
		if e.Code == CodeRelease {
			return false
		}
	}
	return false
}

// await waits for the event that ends the current state. It reports false when
// ctx or Stop came first.
func (t *tenure) await(ctx context.Context) (event, bool) {
	if t.current.Code == Runnable {
		return t.callHandler(ctx), true
	}
	cmd, ok := t.nextCommand(ctx)
	switch {
	case !ok:
		return event{}, false
	case cmd.ID == 0:
		return event{Message: Run()}, true
	}
	if _, err := target(t.current.Code, cmd.Message); err != nil {
		t.logger.Warn("command ignored", "task", t.claim.TaskID, "command", cmd.ID, "error", err)
		// Left where it is it would come back with each hand-over.
		return event{Message: Checkpoint(), handled: cmd.ID}, true
	}
	return event{Message: cmd.Message, handled: cmd.ID}, true
}

// nextCommand waits for a command, or for the end of a sleep, which it reports
// as the zero Command.
func (t *tenure) nextCommand(ctx context.Context) (Command, bool) {
	var wake <-chan time.Time
	if t.current.Code == Sleeping {
		timer := time.NewTimer(time.Until(t.current.Until))
		defer timer.Stop()
		wake = timer.C
	}
	for {
		if t.pending.ID != 0 {
			// A newer command has replaced it at the broker, and so it must here.
			select {
			case cmd := <-t.commands:
				t.receive(cmd)
			default:
			}
			cmd := t.pending
			t.pending = Command{}
			return cmd, true
		}
		select {
		case cmd := <-t.commands:
			t.receive(cmd)
		case <-wake:
			return Command{}, true
		case <-t.stop:
			return Command{}, false
		case <-ctx.Done():
			return Command{}, false
		}
	}
}

// receive makes a command pending. Its ID tells one that is delivered a second
// time.
func (t *tenure) receive(cmd Command) {
	if cmd.ID > t.newest {
		t.newest, t.pending = cmd.ID, cmd
	}
}

// callHandler runs the StatefulHandler until it answers.
func (t *tenure) callHandler(ctx context.Context) event {
	// Goroutines that the handler left behind should see that it is over.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := newCall()
	go c.run(ctx, t.handler, t.task)
	refused := t.forward(ctx, c)

	if t.pending.ID == 0 {
		t.pending = c.offered
	}
	answer := c.answer
	if _, err := target(Runnable, answer); err != nil {
		answer = Error(fmt.Errorf("handler's answer: %w", err))
	}
	// The broker keeps one command, so to remove the newest is to remove all.
	return event{Message: answer, handled: max(c.taken, refused)}
}

// forward hands commands to a call of the handler until that has returned. It
// returns the ID of the newest command that was not fit to be handed on.
func (t *tenure) forward(ctx context.Context, c *call) (refused uint64) {
	commands, stop, ended := t.commands, (<-chan struct{})(t.stop), ctx.Done()
	for {
		if t.pending.ID != 0 {
			if _, err := target(Runnable, t.pending.Message); err != nil {
				t.logger.Warn("command ignored", "task", t.claim.TaskID, "command", t.pending.ID, "error", err)
				refused, t.pending = t.pending.ID, Command{}
				c.recall()
			} else if c.offer(t.pending) {
				t.pending = Command{}
			} else {
				// The handler has returned: the command is for the next state.
				commands = nil
			}
		}
		select {
		case cmd := <-commands:
			t.receive(cmd)
		case <-stop:
			// It may take the place of a command, which stays at the broker
			// for the next owner of the task.
			c.offer(Command{Message: Release()})
			stop, commands = nil, nil
		case <-ended:
			// For handlers that look at their commands only.
			c.offer(Command{Message: Release()})
			ended, commands = nil, nil
		case <-c.returned:
			return refused
		}
	}
}

// follow returns the state that an allowed message leads to, having asked the
// ErrHandler about errors.
func (t *tenure) follow(m Message) State {
	now := time.Now()
	next, err := Next(t.current, m, now)
	if err != nil {
		// The callers have checked the message; to stay is to lose nothing.
		t.logger.Error("state kept", "task", t.claim.TaskID, "error", err)
		return t.current
	}
	if m.Code != CodeError || next.Code != Fault {
		return next
	}
	return t.handleError(next, now)
}

// handleError returns what the ErrHandler makes of a fault.
func (t *tenure) handleError(fault State, now time.Time) State {
	m, errs, err := t.askErrHandler(fault.Errors)
	if err != nil {
		fault.Errors = withError(fault.Errors, now, fmt.Sprintf("error handler: %v", err))
		return fault
	}
	remembered := fault
	remembered.Errors = errs
	next, err := Next(remembered, m, now)
	if err != nil {
		t.logger.Error("error handler's answer is not allowed", "task", t.claim.TaskID, "error", err)
		return fault
	}
	if next.Code == Fault {
		return fault
	}
	return next
}

func (t *tenure) askErrHandler(errs []TaskError) (m Message, remembered []TaskError, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = crash(p)
		}
	}()
	m, remembered = t.errHandler(t.task, slices.Clone(errs))
	return m, remembered, nil
}
