package statemachine_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/metafora-go/metafora/statemachine"
)

// TestRulesAreTheKnownTable holds the table against its own short form: a row
// for each state, a column for each message, in the order of allCodes.
func TestRulesAreTheKnownTable(t *testing.T) {
	want := map[statemachine.StateCode]string{
		//                       run      sleep    pause  kill   error complete  checkpoint release
		statemachine.Runnable:  "runnable sleeping paused killed fault completed runnable runnable",
		statemachine.Sleeping:  "runnable sleeping paused killed fault -         sleeping sleeping",
		statemachine.Paused:    "runnable sleeping paused killed -     -         paused   paused",
		statemachine.Fault:     "-        sleeping -      -      failed -        fault    fault",
		statemachine.Completed: "- - - - - - - -",
		statemachine.Failed:    "- - - - - - - -",
		statemachine.Killed:    "- - - - - - - -",
	}
	for _, from := range allStates() {
		for i, to := range strings.Fields(want[from]) {
			got := "-"
			for _, r := range statemachine.Rules() {
				if r.From == from && r.Event == allCodes()[i] {
					got = string(r.To)
				}
			}
			if got != to {
				t.Errorf("%s in state %s leads to %s, want %s", allCodes()[i], from, got, to)
			}
		}
	}
	if n := len(statemachine.Rules()); n != 25 {
		t.Errorf("%d rules: some pair is listed twice", n)
	}
}

func TestRulesAreACopy(t *testing.T) {
	statemachine.Rules()[0].To = statemachine.Killed
	if r := statemachine.Rules()[0]; r.To != statemachine.Runnable {
		t.Errorf("a caller has changed the table: %v", r)
	}
}

func TestNextFollowsTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, m, now := drawState(t), drawMessage(t), drawTime(t, "now")
		before := from.Copy()
		next, err := statemachine.Next(from, m, now)
		if !from.Equal(before) {
			t.Fatalf("Next changed its argument: %v was %v", from, before)
		}
		for _, r := range statemachine.Rules() {
			if r.From != from.Code || r.Event != m.Code {
				continue
			}
			if err != nil || next.Code != r.To {
				t.Fatalf("%v, %v: got %v, %v, want %s", from, m, next, err, r.To)
			}
			checkNext(t, from, m, now, next)
			return
		}
		if !errors.Is(err, statemachine.ErrNotAllowed) {
			t.Fatalf("%v, %v: got %v, %v, want ErrNotAllowed", from, m, next, err)
		}
		if text := err.Error(); !strings.Contains(text, m.String()) || !strings.Contains(text, string(from.Code)) {
			t.Fatalf("%q does not name %q and %s", text, m, from.Code)
		}
	})
}

// checkNext checks all of a new state but its code.
func checkNext(t *rapid.T, from statemachine.State, m statemachine.Message, now time.Time, next statemachine.State) {
	t.Helper()
	if err := next.Valid(); err != nil {
		t.Fatalf("%v, %v: %v", from, m, err)
	}
	if m.Code == statemachine.CodeCheckpoint || m.Code == statemachine.CodeRelease {
		if !next.Equal(from) {
			t.Fatalf("%s changed %v to %v", m, from, next)
		}
		return
	}
	if m.Code == statemachine.CodeSleep && !next.Until.Equal(m.Until) {
		t.Fatalf("%v: sleeps until %v", m, next.Until)
	}
	if changed := next.Code != from.Code || !next.Until.Equal(from.Until); changed && !next.Since.Equal(now) {
		t.Fatalf("%v, %v: since %v, want %v", from, m, next.Since, now)
	} else if !changed && !next.Since.Equal(from.Since) {
		t.Fatalf("%v, %v: Since moved though nothing changed", from, m)
	}
	want := from.Errors
	if m.Code == statemachine.CodeError {
		want = append(want[:len(want):len(want)], statemachine.TaskError{Time: now, Error: m.Err})
	}
	want = want[max(0, len(want)-statemachine.MaxErrors):]
	if fmt.Sprint(texts(next.Errors)) != fmt.Sprint(texts(want)) {
		t.Fatalf("%v, %v: errors %q, want %q", from, m, texts(next.Errors), texts(want))
	}
}

func texts(errs []statemachine.TaskError) []string {
	var all []string
	for _, e := range errs {
		all = append(all, e.Error)
	}
	return all
}

func TestInvalidMessageIsRefusedByName(t *testing.T) {
	now := time.Now()
	for _, m := range []statemachine.Message{
		{},
		{Code: "dance"},
		{Code: statemachine.CodeSleep},
		{Code: statemachine.CodeError},
		{Code: statemachine.CodePause, Until: now},
		{Code: statemachine.CodeRun, Err: "why"},
		statemachine.Error(nil),
	} {
		_, err := statemachine.Next(statemachine.State{Code: statemachine.Runnable}, m, now)
		if !errors.Is(err, statemachine.ErrInvalidMessage) {
			t.Errorf("%v: got %v", m, err)
			continue
		}
		if text := err.Error(); !strings.Contains(text, string(m.Code)) || !strings.Contains(text, "runnable") {
			t.Errorf("%q does not name %q and runnable", text, m.Code)
		}
	}
}

func TestCopySharesNothing(t *testing.T) {
	s := statemachine.State{Code: statemachine.Fault, Errors: []statemachine.TaskError{{Error: "first"}}}
	s.Copy().Errors[0].Error = "changed"
	if s.Errors[0].Error != "first" {
		t.Error("the copy shares its errors")
	}
}

func ExampleNext() {
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	state := statemachine.State{Code: statemachine.Runnable}
	for _, m := range []statemachine.Message{
		statemachine.Sleep(now.Add(time.Hour)), statemachine.Pause(), statemachine.Complete(), statemachine.Kill(),
	} {
		next, err := statemachine.Next(state, m, now)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Printf("%s -> %s\n", m, next)
		state = next
	}
	// Output:
	// sleep until 2026-01-02T16:04:05Z -> sleeping until 2026-01-02T16:04:05Z
	// pause -> paused
	// statemachine: message is not allowed in this state: complete in state paused
	// kill -> killed
}

func ExampleRules() {
	for _, r := range statemachine.Rules() {
		if r.From == statemachine.Fault {
			fmt.Println(r)
		}
	}
	// Output:
	// fault --sleep--> sleeping
	// fault --error--> failed
	// fault --checkpoint--> fault
	// fault --release--> fault
}
