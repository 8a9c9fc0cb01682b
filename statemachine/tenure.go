package statemachine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/metafora-go/metafora"
)

// tenure is a Machine's time under one claim. It belongs to the goroutine of
// Machine.Run, and to those which that waits for.
type tenure struct {
	*Machine
	claim metafora.Claim
	event event // what ended the current state
}

// event is a message that is allowed in the current state, and the ID of the
// command that is handled with it, or 0.
type event struct {
	Message
	handled uint64
}

// newTenure returns nil where ctx is not that of a claim.
func newTenure(ctx context.Context, m *Machine) *tenure {
	claim, ok := metafora.ClaimFromContext(ctx)
	if !ok {
		m.logger.Error("context of the machine has no claim", "task", m.task.ID())
		return nil
	}
	return &tenure{Machine: m, claim: claim}
}

func (t *tenure) run(ctx context.Context) (done bool) {
	if t.over(ctx) || !t.begin(ctx) {
		return false
	}
	if t.state.Code.Terminal() {
		return true
	}
	defer listen(t.listener, t.claim, t.deliver)()
	return t.live(ctx)
}

// over reports whether the task is to stop here.
func (t *tenure) over(ctx context.Context) bool { return ctx.Err() != nil || t.mail.isLeaving() }

// begin loads the state. It reports false when the task is to be released.
func (t *tenure) begin(ctx context.Context) bool {
	err := aside(func() error { return t.load(ctx) })
	if err != nil {
		t.reportFailure(ctx, "state not loaded, task is released", err)
	}
	return err == nil
}

// live goes from state to state. Stop is obeyed in between, so that it has the
// last word whatever a handler answers, and has it only once the answer is
// stored.
func (t *tenure) live(ctx context.Context) (done bool) {
	for !t.over(ctx) {
		if t.state.Code == Runnable {
			t.callHandler(ctx)
		} else if !t.wait(ctx) {
			return false
		}
		if !t.advance(ctx) {
			return false
		}
		if t.state.Code.Terminal() {
			return true
		}
		if t.event.Code == CodeRelease {
			return false
		}
	}
	return false
}

// deliver takes a command from the listener.
func (t *tenure) deliver(cmd Command) {
	if err := t.mail.deliver(cmd); err != nil {
		t.reportIgnored(err)
	}
}

// callHandler calls the StatefulHandler, and makes its answer the event.
func (t *tenure) callHandler(ctx context.Context) {
	commands, err := t.mail.connect()
	if err != nil {
		t.reportIgnored(err)
	}
	t.settle(t.ask(ctx, commands))
}

// ask returns the handler's answer, or an Error if it panics.
func (t *tenure) ask(ctx context.Context, commands <-chan Message) (answer Message) {
	defer func() {
		if p := recover(); p != nil {
			answer = Error(crash(p))
		}
	}()
	return t.handler(ctx, t.task, commands)
}

// settle makes a handler's answer the event.
func (t *tenure) settle(answer Message) {
	t.event = event{Message: answer, handled: t.mail.disconnect()}
	if _, err := target(Runnable, answer); err != nil {
		t.event.Message = Error(fmt.Errorf("handler's answer: %w", err))
	}
}

// wait sets the event that ends a state in which no handler runs: a command or
// the end of a sleep. It reports false when the task is to stop here.
func (t *tenure) wait(ctx context.Context) bool {
	var alarm <-chan time.Time
	if t.state.Code == Sleeping {
		timer := time.NewTimer(time.Until(t.state.Until))
		defer timer.Stop()
		alarm = timer.C
	}
	for !t.over(ctx) {
		if t.takeCommand() {
			return true
		}
		select {
		case <-t.mail.wakeup:
		case <-ctx.Done():
		case <-alarm:
			t.event = event{Message: Run()}
			return true
		}
	}
	return false
}

// takeCommand makes a command the event, if there is one.
func (t *tenure) takeCommand() bool {
	cmd, ok := t.mail.take()
	if !ok {
		return false
	}
	t.event = event{Message: cmd.Message, handled: cmd.ID}
	if _, err := target(t.state.Code, cmd.Message); err != nil {
		t.reportIgnored(fmt.Errorf("command %d: %w", cmd.ID, err))
		// Left at the broker it would come back with each hand-over.
		t.event.Message = Checkpoint()
	}
	return true
}

// advance takes the task to the state that the event leads to. It reports false
// when the task is to be released.
func (t *tenure) advance(ctx context.Context) bool {
	err := aside(func() error { return t.react(ctx) })
	if err != nil {
		t.reportFailure(ctx, "state not stored, task is released", err)
	}
	return err == nil
}

func (t *tenure) react(ctx context.Context) error {
	now := time.Now()
	next, err := Next(t.state, t.event.Message, now)
	if err != nil {
		return err
	}
	if t.event.Code == CodeError && next.Code == Fault {
		next = t.handleError(next, now)
	}
	return t.commit(ctx, next, t.event.handled)
}

// handleError returns what the ErrHandler makes of a fault.
func (t *tenure) handleError(fault State, now time.Time) State {
	var m Message
	var errs []TaskError
	err := protect(func() error {
		m, errs = t.errHandler(t.task, slices.Clone(fault.Errors))
		return nil
	})
	if err != nil {
		fault.Errors = withError(fault.Errors, now, fmt.Sprintf("error handler: %v", err))
		return fault
	}
	remembered := fault
	remembered.Errors = errs
	next, err := Next(remembered, m, now)
	if err == nil {
		err = next.Valid()
	}
	if err != nil {
		t.logger.Error("error handler's answer is not allowed", "task", t.claim.TaskID, "error", err)
		return fault
	}
	if next.Code == Fault {
		return fault
	}
	return next
}
