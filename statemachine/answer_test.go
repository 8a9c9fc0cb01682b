package statemachine_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

func TestTerminalAnswerIsStoredBeforeRunIsDone(t *testing.T) {
	for _, c := range []struct {
		answer statemachine.Message
		want   string
	}{
		{statemachine.Complete(), "completed/0 "},
		{statemachine.Kill(), "killed/0 "},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := &fakeBroker{}
			start(t, b, answer(c.answer)).wantDone(t, true)
			wantHistory(t, b, c.want)
		})
	}
}

func TestTerminalStateIsDoneWithoutRunning(t *testing.T) {
	for _, s := range []statemachine.State{
		{Code: statemachine.Completed},
		{Code: statemachine.Killed},
		{Code: statemachine.Failed, Errors: []statemachine.TaskError{{Error: "x"}}},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := &fakeBroker{}
			b.put(t, s)
			start(t, b, unreachable(t)).wantDone(t, true)
			wantHistory(t, b, "")
		})
	}
}

func TestReleaseAndCheckpointDoNotWriteTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{}
		start(t, b, answer(statemachine.Checkpoint(), statemachine.Run(), statemachine.Release())).wantDone(t, false)
		wantHistory(t, b, "")
	})
}

func TestBadAnswersAreErrorsThatSayWhatWasAnswered(t *testing.T) {
	for name, c := range map[string]struct {
		handler statemachine.StatefulHandler
		want    []string
	}{
		"nothing":    {answer(statemachine.Message{}), []string{`""`, "runnable"}},
		"unknown":    {answer(statemachine.Message{Code: "dance"}), []string{"dance", "runnable"}},
		"sleep":      {answer(statemachine.Sleep(time.Time{})), []string{"sleep", "deadline", "runnable"}},
		"no error":   {answer(statemachine.Error(nil)), []string{"error", "runnable"}},
		"in release": {answer(statemachine.Message{Code: statemachine.CodeRelease, Err: "x"}), []string{"release", "runnable"}},
		"panic":      {explode, []string{"panic: boom", "answer_test.go", "explode"}},
		"nil":        {nil, []string{"panic", "nil pointer"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := start(t, &fakeBroker{}, c.handler)
				synctest.Wait()
				s := o.wantState(t, statemachine.Sleeping)
				for _, part := range c.want {
					if text := s.Errors[0].Error; !strings.Contains(text, part) {
						t.Errorf("%q does not contain %q", text, part)
					}
				}
			})
		})
	}
}

func explode(context.Context, metafora.Task, <-chan statemachine.Message) statemachine.Message {
	panic("boom")
}

// Otherwise a command on which the handler panics would be delivered to one
// owner after the other.
func TestCommandOnWhichTheHandlerPanicsIsHandled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{}
		o := start(t, b, func(_ context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
			panic(<-commands)
		})
		b.send(t, statemachine.Checkpoint())
		synctest.Wait()
		o.wantState(t, statemachine.Sleeping)
		wantHistory(t, b, "sleeping/1 ")
	})
}

func TestSleepingTaskWakesAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{}
		until := inAnHour()
		woken := make(chan time.Time, 1)
		naps := answer(statemachine.Sleep(until))
		o := start(t, b, func(ctx context.Context, task metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
			if !time.Now().Before(until) {
				woken <- time.Now()
			}
			return naps(ctx, task, commands)
		})
		if at := <-woken; !at.Equal(until) {
			t.Errorf("woke at %v, want %v", at, until)
		}
		s := o.wantState(t, statemachine.Runnable)
		if !s.Since.Equal(until) || !s.Until.IsZero() {
			t.Errorf("runnable since %v, until %v", s.Since, s.Until)
		}
		wantHistory(t, b, "sleeping/0 runnable/0 ")
	})
}

func TestDeadlineOfASleepSurvivesCheckpointReleaseAndHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{}
		until := inAnHour()
		first := start(t, b, answer(statemachine.Sleep(until)))
		b.send(t, statemachine.Checkpoint())
		synctest.Wait()
		time.Sleep(20 * time.Minute)
		b.send(t, statemachine.Release())
		first.wantDone(t, false)
		time.Sleep(20 * time.Minute)

		second := start(t, b, unreachable(t))
		synctest.Wait()
		if s := second.wantState(t, statemachine.Sleeping); !s.Until.Equal(until) {
			t.Errorf("sleeps until %v, want %v", s.Until, until)
		}
		second.cancel(metafora.ErrLeaseLost) // A crash.
		second.wantDone(t, false)

		third := start(t, b, answer(statemachine.Complete()))
		third.wantDone(t, true)
		if now := time.Now(); !now.Equal(until) {
			t.Errorf("woke at %v, want %v", now, until)
		}
		wantHistory(t, b, "sleeping/0 runnable/0 completed/0 ")
	})
}

func TestDeadlineThatPassedWhileNobodyOwnedTheTaskWakesItAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{}
		b.put(t, statemachine.State{Code: statemachine.Sleeping, Until: time.Now().Add(-time.Hour)})
		begin := time.Now()
		start(t, b, answer(statemachine.Complete())).wantDone(t, true)
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestErrHandlerDecidesWhatFollowsAnError(t *testing.T) {
	decideOn := func(m statemachine.Message) statemachine.Option {
		return statemachine.WithErrHandler(func(_ metafora.Task, errs []statemachine.TaskError) (statemachine.Message, []statemachine.TaskError) {
			return m, errs
		})
	}
	for name, c := range map[string]struct {
		option  statemachine.Option
		history string
		errors  []string
	}{
		"sleeps":       {decideOn(statemachine.Sleep(time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC))), "sleeping/0 ", []string{"disk full"}},
		"fails":        {decideOn(statemachine.Error(errors.New("hopeless"))), "failed/0 ", []string{"disk full", "hopeless"}},
		"waits":        {decideOn(statemachine.Checkpoint()), "fault/0 ", []string{"disk full"}},
		"not allowed":  {decideOn(statemachine.Complete()), "fault/0 ", []string{"disk full"}},
		"nothing":      {decideOn(statemachine.Message{}), "fault/0 ", []string{"disk full"}},
		"by default":   {statemachine.WithErrHandler(nil), "sleeping/0 ", []string{"disk full"}},
		"forgets all":  {statemachine.WithErrHandler(forgetful), "fault/0 ", []string{"disk full"}},
		"panics":       {statemachine.WithErrHandler(explodingErrHandler), "fault/0 ", []string{"disk full", "error handler: panic: boom"}},
		"is ambitious": {statemachine.WithErrHandler(talkative), "sleeping/0 ", []string{"0 again", "1 again"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &fakeBroker{}
				o := start(t, b, answer(statemachine.Error(errors.New("disk full"))), c.option)
				synctest.Wait()
				wantHistory(t, b, c.history)
				s, _ := o.State()
				if len(s.Errors) > statemachine.MaxErrors {
					t.Errorf("%d errors", len(s.Errors))
				}
				for i, want := range c.errors {
					if i >= len(s.Errors) || !strings.HasPrefix(s.Errors[i].Error, want) {
						t.Fatalf("errors are %q, want %q", texts(s.Errors), c.errors)
					}
				}
			})
		})
	}
}

func forgetful(metafora.Task, []statemachine.TaskError) (statemachine.Message, []statemachine.TaskError) {
	return statemachine.Checkpoint(), nil
}

func explodingErrHandler(metafora.Task, []statemachine.TaskError) (statemachine.Message, []statemachine.TaskError) {
	panic("boom")
}

// talkative returns more errors than are kept.
func talkative(metafora.Task, []statemachine.TaskError) (statemachine.Message, []statemachine.TaskError) {
	var errs []statemachine.TaskError
	for i := range 10 * statemachine.MaxErrors {
		errs = append(errs, statemachine.TaskError{Time: time.Now(), Error: string(rune('0'+i%statemachine.MaxErrors)) + " again"})
	}
	return statemachine.Sleep(inAnHour()), errs
}

func TestOperatorEndsAFault(t *testing.T) {
	fault := statemachine.State{Code: statemachine.Fault, Errors: []statemachine.TaskError{{Error: "disk full"}}}
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{}
		b.put(t, fault)
		b.send(t, statemachine.Error(errors.New("not worth it")))
		o := start(t, b, unreachable(t))
		o.wantDone(t, true)
		s := o.wantState(t, statemachine.Failed)
		if got := strings.Join(texts(s.Errors), ", "); got != "disk full, not worth it" {
			t.Errorf("errors are %s", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{}
		b.put(t, fault)
		b.send(t, statemachine.Sleep(time.Now()))
		start(t, b, answer(statemachine.Complete())).wantDone(t, true)
		wantHistory(t, b, "sleeping/1 runnable/0 completed/0 ")
	})
}

func TestErrorsOfATaskAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := func(context.Context, metafora.Task, <-chan statemachine.Message) statemachine.Message {
			return statemachine.Message{Code: statemachine.CodeError, Err: strings.Repeat("long ", statemachine.MaxErrorLen)}
		}
		o := start(t, &fakeBroker{}, fails, statemachine.WithErrHandler(statemachine.BackoffErrHandler(statemachine.Backoff{})))
		time.Sleep(23 * time.Hour)
		synctest.Wait()
		s := o.wantState(t, statemachine.Sleeping)
		if len(s.Errors) != statemachine.MaxErrors {
			t.Errorf("%d errors", len(s.Errors))
		}
		for _, e := range s.Errors {
			if len(e.Error) > statemachine.MaxErrorLen {
				t.Errorf("an error of %d bytes", len(e.Error))
			}
		}
		o.Stop()
		o.wantDone(t, false)
	})
}
