package statemachine_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// The model test drives a task through commands, answers, stops, lost claims,
// refused and unanswered writes, and the passing of time. Then it explains each
// state that was stored by the rules, from the state before and from the message
// that led on.

// action is one thing that happens to the task.
type action struct {
	kind    string
	message statemachine.Message
	wait    time.Duration
	times   int
}

func drawAction(t *rapid.T) action {
	a := action{kind: rapid.SampledFrom([]string{
		"send", "send", "send", "answer", "answer", "wait", "deafen", "stop", "lose", "refuse", "lose reply", "redeliver",
	}).Draw(t, "action")}
	switch a.kind {
	case "send", "answer":
		a.message = drawPlainMessage(t)
	case "wait":
		a.wait = time.Duration(rapid.IntRange(1, 30).Draw(t, "minutes")) * time.Minute
	case "refuse", "lose reply":
		a.times = rapid.IntRange(1, 7).Draw(t, "times")
	}
	return a
}

// drawPlainMessage draws a message whose sleeps end within the test, or, now
// and then, an invalid one.
func drawPlainMessage(t *rapid.T) statemachine.Message {
	switch code := rapid.SampledFrom(append(allCodes(), "dance")).Draw(t, "message"); code {
	case statemachine.CodeSleep:
		// Of the fake clock, which always begins there.
		midnight := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		return statemachine.Sleep(midnight.Add(time.Duration(rapid.IntRange(-10, 120).Draw(t, "until")) * time.Minute))
	case statemachine.CodeError:
		return statemachine.Error(errors.New("disk full"))
	default:
		return statemachine.Message{Code: code}
	}
}

// world is a task and whoever owns it.
type world struct {
	b       *fakeBroker
	l       statemachine.CommandListener
	answers chan statemachine.Message // for the running handler
	sent    []statemachine.Message    // by ID of the command, from 1
	owner   *owner
	done    bool

	mu      sync.Mutex // guards what the machine's goroutines see
	given   []given
	deaf    bool // whether handlers called from now on read no commands
	refused int  // how many calls will be refused
	lost    int  // how many replies will be lost
}

// given is an answer of the handler, and how many states had been stored then.
type given struct {
	message statemachine.Message
	writes  int
}

// handle is a handler that answers what the test says, or, unless it is deaf,
// the command that comes before.
func (w *world) handle(_ context.Context, _ metafora.Task, commands <-chan statemachine.Message) (m statemachine.Message) {
	w.mu.Lock()
	if w.deaf {
		commands = nil
	}
	w.mu.Unlock()
	select {
	case m = <-w.answers:
	case m = <-commands:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.given = append(w.given, given{m, w.b.writeCount()})
	return m
}

func newWorld(t *testing.T, channels bool) *world {
	w := &world{b: &fakeBroker{}, answers: make(chan statemachine.Message)}
	w.l = w.b
	if channels {
		w.l = channelListener{w.b}
	}
	w.b.fail = func(string) error { return w.countDown(&w.refused) }
	w.b.loseReply = func(string) error { return w.countDown(&w.lost) }
	w.claim(t)
	return w
}

// countDown returns an error until n is 0.
func (w *world) countDown(n *int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if *n == 0 {
		return nil
	}
	*n--
	return errHiccup
}

// claim gives the task to a new owner, unless it is done.
func (w *world) claim(t *testing.T) {
	if !w.done {
		w.owner = startOn(t, w.b, w.l, w.handle, statemachine.WithRetry(3, time.Second))
	}
	synctest.Wait()
}

// step lets one action happen and everything that follows from it at once.
func (w *world) step(t *testing.T, a action) {
	switch a.kind {
	case "send":
		w.sent = append(w.sent, a.message)
		w.b.send(t, a.message)
	case "answer":
		select {
		case w.answers <- a.message:
		default: // No handler runs.
		}
	case "wait":
		time.Sleep(a.wait)
	case "stop":
		w.owner.Stop()
	case "lose":
		w.b.claim()
		w.owner.cancel(metafora.ErrLeaseLost)
	case "refuse":
		w.set(func() { w.refused = a.times })
	case "lose reply":
		w.set(func() { w.lost = a.times })
	case "deafen":
		w.set(func() { w.deaf = !w.deaf })
	case "redeliver":
		w.b.redeliver()
	}
	synctest.Wait()
	select {
	case w.done = <-w.owner.done:
		w.claim(t)
	default:
	}
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// settle ends the faults and lets an owner bring everything to rest.
func (w *world) settle(t *testing.T) {
	w.set(func() { w.refused, w.lost, w.deaf = 0, 0, false })
	w.step(t, action{kind: "answer", message: statemachine.Checkpoint()})
	for range 3 {
		w.step(t, action{kind: "wait", wait: time.Minute})
	}
}

// check returns what is wrong with the history, or "".
func (w *world) check() string {
	from := statemachine.State{Code: statemachine.Runnable}
	var newest uint64
	for i, now := range w.b.writes {
		if i > 0 && now.state.Equal(from) && now.handled == w.b.writes[i-1].handled {
			continue // Repeated, since the reply was lost.
		}
		if err := now.state.Valid(); err != nil {
			return "an invalid state was stored"
		}
		if now.handled != 0 && now.handled <= newest {
			return "a command was handled twice, or after a newer one"
		}
		newest = max(newest, now.handled)
		if why := w.explain(i, from, now); why != "" {
			return fmt.Sprintf("from %s to %s: %s", from.Code, now.state.Code, why)
		}
		from = now.state
	}
	return w.checkEnd(from)
}

// explain returns why the write of index i cannot have followed from the state
// before it, or "".
func (w *world) explain(i int, from statemachine.State, now write) string {
	var cause statemachine.Message
	switch {
	case from.Code == statemachine.Runnable:
		for _, g := range w.given {
			if g.writes == i {
				cause = g.message // The last one is the one that could be stored.
			}
		}
	case now.handled != 0:
		cause = w.sent[now.handled-1]
	case from.Code == statemachine.Sleeping && !now.state.Since.Before(from.Until):
		cause = statemachine.Run()
	}
	if from.Code == statemachine.Runnable && cause.Valid() != nil {
		cause = statemachine.Error(errors.New("bad answer"))
	}
	want, err := statemachine.Next(from, cause, now.state.Since)
	switch {
	case err != nil:
		return err.Error()
	case want.Code == statemachine.Fault && cause.Code == statemachine.CodeError:
		if c := now.state.Code; c != statemachine.Sleeping && c != statemachine.Failed {
			return "no answer of the ErrHandler"
		}
	case want.Code != now.state.Code || !want.Until.Equal(now.state.Until):
		return fmt.Sprintf("%s leads to %s", cause, want)
	}
	return ""
}

// checkEnd checks that what runs, what is stored, and what is done agree once
// the faults have ended.
func (w *world) checkEnd(last statemachine.State) string {
	if w.done != last.Code.Terminal() {
		return fmt.Sprintf("done is %v in state %s", w.done, last.Code)
	}
	if w.done {
		return ""
	}
	s, ok := w.owner.State()
	left := w.b.pendingCommand()
	// An invalid command waits for the next answer of the handler.
	refused := left.Message.Valid() != nil && s.Code == statemachine.Runnable
	switch {
	case !ok || s.Code != last.Code || !s.Until.Equal(last.Until):
		return "the machine is in another state than the stored one"
	case left.ID != 0 && !refused:
		return "a command is left pending"
	case s.Code == statemachine.Sleeping && !time.Now().Before(s.Until):
		return "the sleeper did not wake"
	}
	return ""
}

func TestAnyHistoryFollowsTheRulesAndLosesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		actions := rapid.SliceOfN(rapid.Custom(drawAction), 1, 25).Draw(rt, "actions")
		channels := rapid.Bool().Draw(rt, "channels")
		var violation, history string
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, channels)
			for _, a := range actions {
				w.step(t, a)
			}
			w.settle(t)
			violation, history = w.check(), w.b.history()
			if !w.done {
				w.owner.Stop()
				<-w.owner.done
			}
		})
		if violation != "" {
			rt.Logf("stored: %s", history)
			rt.Fatalf("%s", violation)
		}
	})
}
