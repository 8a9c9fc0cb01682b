package statemachine_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

func TestStopEndsRunInEveryState(t *testing.T) {
	for _, s := range []statemachine.State{
		{Code: statemachine.Runnable},
		{Code: statemachine.Sleeping, Until: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Code: statemachine.Paused},
		{Code: statemachine.Fault, Errors: []statemachine.TaskError{{Error: "x"}}},
	} {
		t.Run(string(s.Code), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &fakeBroker{}
				b.put(t, s)
				o := start(t, b, obey)
				synctest.Wait()
				o.wantState(t, s.Code)
				o.Stop()
				o.Stop() // Any number of times.
				o.wantDone(t, false)
				o.Stop()
				wantHistory(t, b, "")
				if b.listening() {
					t.Error("the machine still listens")
				}
			})
		})
	}
}

func TestStopBeforeRunKeepsTheHandlerFromRunning(t *testing.T) {
	b := &fakeBroker{fail: func(op string) error { t.Errorf("%s was called", op); return nil }}
	m := statemachine.New(metafora.NewTask("task"), unreachable(t), b, b)
	m.Stop()
	if m.Run(metafora.ContextWithClaim(t.Context(), b.claim(), nil)) {
		t.Error("done")
	}
}

func TestAnswerToStopIsStoredAndRunEndsAllTheSame(t *testing.T) {
	for _, c := range []struct {
		answer  statemachine.Message
		history string
		done    bool
	}{
		{statemachine.Pause(), "paused/0 ", false},
		{statemachine.Run(), "", false},
		{statemachine.Checkpoint(), "", false},
		{statemachine.Complete(), "completed/0 ", true},
	} {
		synctest.Test(t, func(t *testing.T) {
			stubborn := func(_ context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
				if m := <-commands; m != statemachine.Release() {
					t.Errorf("Stop came as %v", m)
				}
				return c.answer
			}
			b := &fakeBroker{}
			o := start(t, b, stubborn)
			synctest.Wait()
			o.Stop()
			o.wantDone(t, c.done)
			wantHistory(t, b, c.history)
		})
	}
}

func TestStopLeavesACommandNotReceivedForTheNextOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		late := func(_ context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
			<-proceed
			return <-commands
		}
		b := &fakeBroker{}
		first := start(t, b, late)
		b.send(t, statemachine.Kill())
		synctest.Wait()
		first.Stop()
		synctest.Wait()
		close(proceed)
		first.wantDone(t, false)

		start(t, b, obey).wantDone(t, true)
		wantHistory(t, b, "killed/1 ")
	})
}

func TestCommandReceivedBeforeStopIsHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		received, proceed := make(chan struct{}), make(chan struct{})
		slow := func(_ context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
			m := <-commands
			close(received)
			<-proceed
			return m
		}
		b := &fakeBroker{}
		o := start(t, b, slow)
		b.send(t, statemachine.Kill())
		<-received
		o.Stop()
		synctest.Wait()
		close(proceed)
		o.wantDone(t, true)
		wantHistory(t, b, "killed/1 ")
	})
}

func TestLostClaimEndsRunWithoutAWrite(t *testing.T) {
	for name, cause := range map[string]error{"lease lost": metafora.ErrLeaseLost, "not owner": metafora.ErrNotOwner, "no cause": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				finish := func(ctx context.Context, _ metafora.Task, _ <-chan statemachine.Message) statemachine.Message {
					<-ctx.Done()
					return statemachine.Complete()
				}
				b := &fakeBroker{}
				o := start(t, b, finish)
				synctest.Wait()
				o.cancel(cause)
				o.wantDone(t, false)
				wantHistory(t, b, "")
			})
		})
	}
}

func TestLostClaimEndsRunInEachWaitingState(t *testing.T) {
	for _, s := range []statemachine.State{
		{Code: statemachine.Sleeping, Until: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Code: statemachine.Paused},
		{Code: statemachine.Fault, Errors: []statemachine.TaskError{{Error: "x"}}},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := &fakeBroker{}
			b.put(t, s)
			o := start(t, b, unreachable(t))
			synctest.Wait()
			o.cancel(metafora.ErrLeaseLost)
			o.wantDone(t, false)
			wantHistory(t, b, "")
		})
	}
}

// The claim is still this node's at the drain timeout, and the work of hours may
// hang on one more write.
func TestAnswerGivenAtTheDrainTimeoutIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		finish := func(ctx context.Context, _ metafora.Task, _ <-chan statemachine.Message) statemachine.Message {
			<-ctx.Done()
			return statemachine.Complete()
		}
		b := &fakeBroker{}
		o := start(t, b, finish)
		synctest.Wait()
		o.Stop()
		synctest.Wait()
		o.cancel(metafora.ErrStopped)
		o.wantDone(t, true)
		wantHistory(t, b, "completed/0 ")
	})
}

func TestWriteAfterTheDrainTimeoutIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{}
		store := hangingStore{b}
		ctx, cancel := context.WithCancelCause(metafora.ContextWithClaim(t.Context(), b.claim(), nil))
		m := statemachine.New(metafora.NewTask("task"), answer(statemachine.Complete()), store, b)
		done := make(chan bool)
		go func() { done <- m.Run(ctx) }()
		synctest.Wait()
		cancel(metafora.ErrStopped)
		if <-done {
			t.Error("done though nothing was stored")
		}
	})
}

// hangingStore does not answer Store until ctx ends.
type hangingStore struct{ *fakeBroker }

func (hangingStore) Store(ctx context.Context, _ metafora.Claim, _ statemachine.State, _ uint64) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestHandlerKnowsItsClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := func(ctx context.Context, _ metafora.Task, _ <-chan statemachine.Message) statemachine.Message {
			if c, ok := metafora.ClaimFromContext(ctx); !ok || c.Fence != 1 {
				t.Errorf("the handler's claim is %v, %v", c, ok)
			}
			return statemachine.Complete()
		}
		start(t, &fakeBroker{}, h).wantDone(t, true)
	})
}

func TestRunWithoutAClaimReleases(t *testing.T) {
	b := &fakeBroker{}
	if statemachine.New(metafora.NewTask("task"), unreachable(t), b, b).Run(t.Context()) {
		t.Error("done")
	}
}
