package statemachine_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

var errHiccup = errors.New("broker hiccup")

// failing returns a fail function that refuses one operation n times.
func failing(op string, n int, err error) func(string) error {
	return func(called string) error {
		if called != op || n == 0 {
			return nil
		}
		n--
		return err
	}
}

func TestTransientFailuresAreRetried(t *testing.T) {
	for _, op := range []string{"load", "store"} {
		synctest.Test(t, func(t *testing.T) {
			b := &fakeBroker{fail: failing(op, 4, errHiccup)}
			start(t, b, answer(statemachine.Complete())).wantDone(t, true)
			wantHistory(t, b, "completed/0 ")
		})
	}
}

func TestTaskIsReleasedNotLostWhenItsStateCannotBeLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{fail: failing("load", -1, errHiccup)}
		begin := time.Now()
		start(t, b, unreachable(t)).wantDone(t, false)
		if waited := time.Since(begin); waited < time.Second {
			t.Errorf("released after %v: the task would spin from node to node", waited)
		}
	})
}

func TestTaskIsReleasedNotLostWhenItsStateCannotBeStored(t *testing.T) {
	for _, answered := range []statemachine.Message{statemachine.Complete(), statemachine.Kill(), statemachine.Pause()} {
		synctest.Test(t, func(t *testing.T) {
			b := &fakeBroker{fail: failing("store", -1, errHiccup)}
			b.send(t, statemachine.Kill())
			start(t, b, answer(answered)).wantDone(t, false)
			wantHistory(t, b, "")
			if b.pendingCommand().ID != 1 {
				t.Error("the command is gone without an effect")
			}
		})
	}
}

func TestStopAndLostClaimCutTheWaitForALoadShort(t *testing.T) {
	for name, end := range map[string]func(*owner){
		"stop": (*owner).Stop,
		"lost": func(o *owner) { o.cancel(metafora.ErrLeaseLost) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				loads := 0
				b := &fakeBroker{fail: func(string) error { loads++; return errHiccup }}
				begin := time.Now()
				o := start(t, b, unreachable(t), statemachine.WithRetry(5, time.Hour))
				synctest.Wait()
				end(o)
				o.wantDone(t, false)
				if loads != 1 {
					t.Errorf("tried %d times", loads)
				}
				if waited := time.Since(begin); waited != 0 {
					t.Errorf("waited %v", waited)
				}
			})
		})
	}
}

func TestStopDoesNotKeepAnAnswerFromBeingStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{fail: failing("store", 2, errHiccup)}
		o := start(t, b, answer(statemachine.Complete()))
		synctest.Wait() // The first attempt has failed.
		o.Stop()
		o.wantDone(t, true)
		wantHistory(t, b, "completed/0 ")
	})
}

func TestLostClaimEndsTheRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stores := 0
		b := &fakeBroker{fail: func(op string) error {
			if op == "store" {
				stores++
				return errHiccup
			}
			return nil
		}}
		o := start(t, b, answer(statemachine.Complete()))
		begin := time.Now()
		synctest.Wait()
		o.cancel(metafora.ErrLeaseLost)
		o.wantDone(t, false)
		if waited := time.Since(begin); stores != 1 || waited != 0 {
			t.Errorf("tried %d times in %v", stores, waited)
		}
	})
}

func TestWriteOfAnOldClaimTouchesNothingAndEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{}
		old := start(t, b, obey)
		synctest.Wait()
		b.claim() // Another node's.
		calls := 0
		b.fail = func(string) error { calls++; return nil }
		b.send(t, statemachine.Kill())
		old.wantDone(t, false)
		wantHistory(t, b, "")
		if calls != 1 {
			t.Errorf("%d calls, want the one that was refused", calls)
		}
		if b.pendingCommand().ID != 1 {
			t.Error("the new owner's command is gone")
		}
	})
}

func TestLoadUnderAnOldClaimEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{fail: failing("load", 1, metafora.ErrNotOwner)}
		begin := time.Now()
		start(t, b, unreachable(t)).wantDone(t, false)
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestRepeatedWriteWhoseReplyWasLostHasOneEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{loseReply: failing("store", 1, errHiccup)}
		b.send(t, statemachine.Pause())
		o := start(t, b, obey)
		time.Sleep(time.Second)
		b.send(t, statemachine.Kill())
		o.wantDone(t, true)
		wantHistory(t, b, "paused/1 paused/1 killed/2 ")
	})
}

func TestPanicOfAStoreDoesNotLoseTheTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{fail: func(string) error { panic("boom") }}
		start(t, b, answer(statemachine.Complete())).wantDone(t, false)
	})
}

func TestCorruptStateIsKeptReportedAndParked(t *testing.T) {
	const corrupt = `{"state":"dreaming","of":"sheep"}`
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		b := &fakeBroker{stored: []byte(corrupt)}
		o := start(t, b, unreachable(t), statemachine.WithLogger(hclog.New(&hclog.LoggerOptions{Output: &log})))
		for _, ignored := range []statemachine.Message{statemachine.Run(), statemachine.Checkpoint()} {
			b.send(t, ignored)
			synctest.Wait()
			s := o.wantState(t, statemachine.Fault)
			if text := s.Errors[0].Error; !strings.Contains(text, "dreaming") {
				t.Errorf("the fault does not tell what is stored: %q", text)
			}
			if c := b.pendingCommand(); c.ID != 0 {
				t.Errorf("%v is still pending", c)
			}
		}
		o.Stop()
		o.wantDone(t, false)
		if got := string(b.stored); got != corrupt {
			t.Errorf("stored state is now %s", got)
		}
		if text := log.String(); !strings.Contains(text, "[ERROR]") || !strings.Contains(text, "task=task") {
			t.Errorf("not reported: %s", text)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{stored: []byte(corrupt)}
		o := start(t, b, obey)
		synctest.Wait()
		b.send(t, statemachine.Sleep(time.Now()))
		synctest.Wait()
		o.wantState(t, statemachine.Runnable)
		wantHistory(t, b, "sleeping/1 runnable/0 ")
	})
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{stored: []byte(corrupt)}
		b.send(t, statemachine.Error(errors.New("beyond repair")))
		start(t, b, unreachable(t)).wantDone(t, true)
		wantHistory(t, b, "failed/1 ")
	})
}

// dreamStore returns a state that no codec has checked.
type dreamStore struct{ *fakeBroker }

func (dreamStore) Load(context.Context, metafora.Claim) (statemachine.State, error) {
	return statemachine.State{Code: "dreaming"}, nil
}

func TestInvalidStateOfACarelessStoreIsParkedToo(t *testing.T) {
	b := &fakeBroker{}
	m := statemachine.New(metafora.NewTask("task"), unreachable(t), dreamStore{b}, b)
	b.send(t, statemachine.Error(errors.New("beyond repair")))
	if !m.Run(metafora.ContextWithClaim(t.Context(), b.claim(), nil)) {
		t.Error("not done")
	}
	wantHistory(t, b, "failed/1 ")
}

func TestOperatorSeesTasksInTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		gives := func(m statemachine.Message) statemachine.Option {
			return statemachine.WithErrHandler(func(metafora.Task, []statemachine.TaskError) (statemachine.Message, []statemachine.TaskError) {
				return m, nil
			})
		}
		logger := statemachine.WithLogger(hclog.New(&hclog.LoggerOptions{Output: &log}))
		fails := answer(statemachine.Error(errors.New("disk full")))
		start(t, &fakeBroker{}, fails, logger, gives(statemachine.Error(errors.New("hopeless")))).wantDone(t, true)
		if text := log.String(); !strings.Contains(text, "[ERROR]") || !strings.Contains(text, "hopeless") {
			t.Errorf("logged: %s", text)
		}
	})
}

func TestStateIsUnknownBeforeItIsLoaded(t *testing.T) {
	b := &fakeBroker{}
	if s, ok := statemachine.New(metafora.NewTask("task"), obey, b, b).State(); ok {
		t.Errorf("state is %v", s)
	}
}

// An error handler is user code: what it returns may be impossible to store,
// and the task must not go from node to node for that.
func TestErrorsThatCannotBeStoredLeaveTheTaskInFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{}
		o := start(t, b, answer(statemachine.Error(errors.New("disk full"))), statemachine.WithErrHandler(
			func(_ metafora.Task, errs []statemachine.TaskError) (statemachine.Message, []statemachine.TaskError) {
				errs[0].Time = time.Date(20_000, 1, 1, 0, 0, 0, 0, time.UTC)
				return statemachine.Sleep(inAnHour()), errs
			}))
		synctest.Wait()
		if s := o.wantState(t, statemachine.Fault); len(s.Errors) != 1 || s.Errors[0].Error != "disk full" {
			t.Errorf("the errors are %v", s.Errors)
		}
		wantHistory(t, b, "fault/0 ")
	})
}

// leavingStore ends the goroutine that calls it.
type leavingStore struct{ *fakeBroker }

func (leavingStore) Store(context.Context, metafora.Claim, statemachine.State, uint64) error {
	runtime.Goexit()
	return nil
}

func TestStoreThatEndsItsGoroutineDoesNotHangTheTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{}
		m := statemachine.New(metafora.NewTask("task"), answer(statemachine.Complete()), leavingStore{b}, b)
		if m.Run(metafora.ContextWithClaim(t.Context(), b.claim(), nil)) {
			t.Error("done though nothing was stored")
		}
	})
}
