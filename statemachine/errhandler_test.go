package statemachine_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

func TestDefaultErrHandlerFailsATaskAtItsEighthErrorInFourHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var errs []statemachine.TaskError
		for n := 1; n <= 8; n++ {
			errs = append(errs, statemachine.TaskError{Time: time.Now(), Error: "disk full"})
			var m statemachine.Message
			m, errs = statemachine.DefaultErrHandler(metafora.NewTask("task"), errs)
			if want := statemachine.Sleep(time.Now().Add(10 * time.Minute)); n < 8 && m != want {
				t.Fatalf("error %d: got %v, want %v", n, m, want)
			}
			if n == 8 && m.Code != statemachine.CodeError {
				t.Fatalf("error %d: got %v", n, m)
			}
			time.Sleep(10 * time.Minute)
		}
	})
}

func TestDefaultErrHandlerForgetsErrorsAfterFourHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var errs []statemachine.TaskError
		for range 50 {
			errs = append(errs, statemachine.TaskError{Time: time.Now(), Error: "disk full"})
			var m statemachine.Message
			if m, errs = statemachine.DefaultErrHandler(metafora.NewTask("task"), errs); m.Code != statemachine.CodeSleep {
				t.Fatalf("got %v after %d errors", m, len(errs))
			}
			time.Sleep(40 * time.Minute)
		}
		if len(errs) != 6 {
			t.Errorf("remembers %d errors", len(errs))
		}
	})
}

func TestDefaultErrHandlerRetriesAndGivesUpInTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{}
		failure := statemachine.Error(errors.New("disk full"))
		begin := time.Now()
		o := start(t, b, answer(failure, failure, failure, failure, failure, failure, failure, failure))
		o.wantDone(t, true)
		if took := time.Since(begin); took != 70*time.Minute {
			t.Errorf("gave up after %v", took)
		}
		if s := o.wantState(t, statemachine.Failed); len(s.Errors) != 9 {
			t.Errorf("errors are %q", texts(s.Errors))
		}
	})
}

func TestBackoffGrowsToItsMaximumAndGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := statemachine.BackoffErrHandler(statemachine.Backoff{Base: time.Second, Max: 10 * time.Second, Factor: 3, Limit: 5})
		var errs []statemachine.TaskError
		for _, want := range []time.Duration{1, 3, 9, 10} {
			errs = append(errs, statemachine.TaskError{Time: time.Now(), Error: "x"})
			var m statemachine.Message
			m, errs = h(metafora.NewTask("task"), errs)
			if m != statemachine.Sleep(time.Now().Add(want*time.Second)) {
				t.Fatalf("error %d: got %v, want %d s from now", len(errs), m, want)
			}
		}
		if m, _ := h(nil, append(errs, statemachine.TaskError{Time: time.Now(), Error: "x"})); m.Code != statemachine.CodeError {
			t.Errorf("got %v at the limit", m)
		}
	})
}

func TestBackoffStaysInItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := statemachine.Backoff{
			Base:   time.Duration(rapid.Int64().Draw(t, "base")),
			Max:    time.Duration(rapid.Int64().Draw(t, "max")),
			Factor: rapid.Float64Range(-2, math.MaxFloat64).Draw(t, "factor"),
			Jitter: rapid.Float64Range(-2, 2).Draw(t, "jitter"),
			Random: func() float64 { return rapid.Float64Range(0, 0.999).Draw(t, "random") },
		}
		longest := b.Max
		if longest <= 0 {
			longest = time.Hour
		}
		errs := make([]statemachine.TaskError, rapid.IntRange(0, 40).Draw(t, "errors"))
		begin := time.Now()
		for i := range errs {
			errs[i].Time = begin
		}
		m, _ := statemachine.BackoffErrHandler(b)(metafora.NewTask("task"), errs)
		end := time.Now()
		if m.Code != statemachine.CodeSleep || m.Until.Before(begin.Round(0)) || m.Until.Sub(end) > longest {
			t.Fatalf("%+v: after %d errors got %v", b, len(errs), m)
		}
	})
}

func TestBackoffLimitAboveWhatIsKeptStillEndsTheTask(t *testing.T) {
	h := statemachine.BackoffErrHandler(statemachine.Backoff{Limit: 10 * statemachine.MaxErrors})
	errs := make([]statemachine.TaskError, statemachine.MaxErrors)
	for i := range errs {
		errs[i].Time = time.Now()
	}
	if m, _ := h(metafora.NewTask("task"), errs); m.Code != statemachine.CodeError {
		t.Errorf("got %v", m)
	}
}

func ExampleBackoffErrHandler() {
	handle := statemachine.BackoffErrHandler(statemachine.Backoff{Base: time.Second, Max: time.Minute, Limit: 4})
	var errs []statemachine.TaskError
	for range 4 {
		now := time.Now()
		errs = append(errs, statemachine.TaskError{Time: now, Error: "connection refused"})
		var next statemachine.Message
		next, errs = handle(metafora.NewTask("task"), errs)
		if next.Code == statemachine.CodeSleep {
			fmt.Println("try again in", next.Until.Sub(now).Round(time.Second))
		} else {
			fmt.Println(next)
		}
	}
	// Output:
	// try again in 1s
	// try again in 2s
	// try again in 4s
	// error: given up after 4 errors within 24h0m0s
}
