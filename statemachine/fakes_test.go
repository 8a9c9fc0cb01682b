package statemachine_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// write is a successful call of Store.
type write struct {
	state   statemachine.State
	handled uint64
}

// fakeBroker keeps one task: it is its StateStore, Commander and CommandCaller.
type fakeBroker struct {
	// fail, if set, is asked before each call: an error that it returns is the
	// result, and nothing else happens.
	fail func(op string) error
	// loseReply, if set, is asked after each call that took effect.
	loseReply func(op string) error

	mu       sync.Mutex // guards what follows
	fence    uint64     // of the current claim
	stored   []byte     // nil where there is none
	writes   []write
	lastID   uint64
	pending  statemachine.Command
	listener *listener // nil while nobody listens
}

func (b *fakeBroker) Load(ctx context.Context, c metafora.Claim) (statemachine.State, error) {
	var s statemachine.State
	err := b.call(ctx, "load", c, func() (err error) {
		if b.stored == nil {
			return statemachine.ErrNoState
		}
		s, err = statemachine.DecodeState(b.stored)
		return err
	})
	return s, err
}

func (b *fakeBroker) Store(ctx context.Context, c metafora.Claim, s statemachine.State, handled uint64) error {
	return b.call(ctx, "store", c, func() error {
		text, err := statemachine.EncodeState(s)
		if err != nil {
			return err
		}
		b.stored = text
		b.writes = append(b.writes, write{s, handled})
		b.remove(handled)
		return nil
	})
}

func (b *fakeBroker) Handled(ctx context.Context, c metafora.Claim, id uint64) error {
	return b.call(ctx, "handled", c, func() error {
		b.remove(id)
		return nil
	})
}

func (b *fakeBroker) Send(_ context.Context, _ string, m statemachine.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastID++
	b.pending = statemachine.Command{ID: b.lastID, Message: m}
	b.deliver()
	return nil
}

// listener is one call of Listen or ListenFunc.
type listener struct{ deliver func(statemachine.Command) }

func (b *fakeBroker) Listen(c metafora.Claim) (<-chan statemachine.Command, func()) {
	commands := make(chan statemachine.Command, 1)
	return commands, b.ListenFunc(c, func(cmd statemachine.Command) {
		select {
		case <-commands:
		default:
		}
		commands <- cmd
	})
}

func (b *fakeBroker) ListenFunc(_ metafora.Claim, deliver func(statemachine.Command)) func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	mine := &listener{deliver}
	b.listener = mine
	b.deliver()
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.listener == mine {
			b.listener = nil
		}
	}
}

// channelListener hides that a fakeBroker can call back.
type channelListener struct{ statemachine.CommandListener }

// call does what all fenced calls do.
func (b *fakeBroker) call(ctx context.Context, op string, c metafora.Claim, effect func() error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if b.fail != nil {
		if err := b.fail(op); err != nil {
			return err
		}
	}
	if err := b.fenced(c, effect); err != nil {
		return err
	}
	if b.loseReply != nil {
		return b.loseReply(op)
	}
	return nil
}

func (b *fakeBroker) fenced(c metafora.Claim, effect func() error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.Fence != b.fence {
		return fmt.Errorf("%s: %w", c, metafora.ErrNotOwner)
	}
	return effect()
}

// deliver and remove are called with b.mu held.
func (b *fakeBroker) deliver() {
	if b.listener == nil || b.pending.ID == 0 {
		return
	}
	b.listener.deliver(b.pending)
}

func (b *fakeBroker) remove(id uint64) {
	if id != 0 && b.pending.ID == id {
		b.pending = statemachine.Command{}
	}
}

// redeliver shows the pending command to the listener again, as a backend may
// that has lost its watch.
func (b *fakeBroker) redeliver() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deliver()
}

// behind lets things happen that the listener does not hear of.
func (b *fakeBroker) behind(f func()) {
	l := b.listener
	b.listener = nil
	f()
	b.listener = l
}

func (b *fakeBroker) pendingCommand() statemachine.Command {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pending
}

func (b *fakeBroker) writeCount() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.writes)
}

func (b *fakeBroker) listening() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.listener != nil
}

// history returns the codes of the states that were stored, and the commands
// that were removed with them.
func (b *fakeBroker) history() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := ""
	for _, w := range b.writes {
		text += fmt.Sprintf("%s/%d ", w.state.Code, w.handled)
	}
	return text
}

// put stores a state from outside.
func (b *fakeBroker) put(t testing.TB, s statemachine.State) {
	t.Helper()
	text, err := statemachine.EncodeState(s)
	if err != nil {
		t.Fatal(err)
	}
	b.stored = text
}

// send is Send for tests.
func (b *fakeBroker) send(t testing.TB, m statemachine.Message) {
	t.Helper()
	if err := b.Send(t.Context(), "task", m); err != nil {
		t.Fatal(err)
	}
}

// claim makes a new claim the current one.
func (b *fakeBroker) claim() metafora.Claim {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fence++
	return metafora.Claim{TaskID: "task", Node: "node", Fence: b.fence}
}

// owner is a node that runs the task under one claim.
type owner struct {
	*statemachine.Machine
	end  context.CancelCauseFunc // of the context
	done chan bool
}

// cancel ends the context, as the Consumer does.
func (o *owner) cancel(cause error) {
	o.end(cause)
	o.Stop()
}

// start claims the task and runs it, on a listener that calls back.
func start(t testing.TB, b *fakeBroker, h statemachine.StatefulHandler, opts ...statemachine.Option) *owner {
	t.Helper()
	return startOn(t, b, b, h, opts...)
}

// startOn is start with any listener.
func startOn(t testing.TB, b *fakeBroker, l statemachine.CommandListener, h statemachine.StatefulHandler, opts ...statemachine.Option) *owner {
	t.Helper()
	ctx, cancel := context.WithCancelCause(metafora.ContextWithClaim(context.Background(), b.claim(), nil))
	o := &owner{
		Machine: statemachine.New(metafora.NewTask("task"), h, b, l, opts...),
		end:     cancel,
		done:    make(chan bool, 1),
	}
	t.Cleanup(func() { o.cancel(nil) })
	go func() { o.done <- o.Run(ctx) }()
	return o
}

// wantDone waits for Run, which must return want.
func (o *owner) wantDone(t testing.TB, want bool) {
	t.Helper()
	if got := <-o.done; got != want {
		t.Fatalf("Run returned %v, want %v", got, want)
	}
}

// wantState checks the state of the machine.
func (o *owner) wantState(t testing.TB, want statemachine.StateCode) statemachine.State {
	t.Helper()
	s, ok := o.State()
	if !ok || s.Code != want {
		t.Fatalf("state is %v, %v, want %s", s, ok, want)
	}
	return s
}

// wantHistory checks what was stored.
func wantHistory(t testing.TB, b *fakeBroker, want string) {
	t.Helper()
	if got := b.history(); got != want {
		t.Fatalf("stored %q, want %q", got, want)
	}
}

// obey is a handler that answers each command with itself.
func obey(_ context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
	return <-commands
}

// answer makes a handler that gives the answers at once, one in each call, and
// then obeys.
func answer(answers ...statemachine.Message) statemachine.StatefulHandler {
	var mu sync.Mutex
	return func(ctx context.Context, task metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
		mu.Lock()
		if len(answers) > 0 {
			defer mu.Unlock()
			m := answers[0]
			answers = answers[1:]
			return m
		}
		mu.Unlock()
		return obey(ctx, task, commands)
	}
}

// unreachable is a handler for tasks that must not run.
func unreachable(t testing.TB) statemachine.StatefulHandler {
	return func(context.Context, metafora.Task, <-chan statemachine.Message) statemachine.Message {
		t.Error("the handler ran")
		return statemachine.Release()
	}
}

// inAnHour is a deadline of the fake clock.
func inAnHour() time.Time { return time.Now().Add(time.Hour) }
