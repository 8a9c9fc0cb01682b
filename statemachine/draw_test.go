package statemachine_test

import (
	"errors"
	"time"

	"pgregory.net/rapid"

	"github.com/metafora-go/metafora/statemachine"
)

// allStates and allCodes list what the tests draw from.
func allStates() []statemachine.StateCode {
	return []statemachine.StateCode{
		statemachine.Runnable, statemachine.Sleeping, statemachine.Paused, statemachine.Fault,
		statemachine.Completed, statemachine.Failed, statemachine.Killed,
	}
}

func allCodes() []statemachine.MessageCode {
	return []statemachine.MessageCode{
		statemachine.CodeRun, statemachine.CodeSleep, statemachine.CodePause, statemachine.CodeKill,
		statemachine.CodeError, statemachine.CodeComplete, statemachine.CodeCheckpoint, statemachine.CodeRelease,
	}
}

// drawMessage draws a valid message.
func drawMessage(t *rapid.T) statemachine.Message {
	switch code := rapid.SampledFrom(allCodes()).Draw(t, "message"); code {
	case statemachine.CodeSleep:
		return statemachine.Sleep(drawTime(t, "until"))
	case statemachine.CodeError:
		return statemachine.Error(errors.New(drawText(t)))
	default:
		return statemachine.Message{Code: code}
	}
}

// drawState draws a valid state. Its times are in any zone.
func drawState(t *rapid.T) statemachine.State {
	s := statemachine.State{Code: rapid.SampledFrom(allStates()).Draw(t, "state")}
	if rapid.Bool().Draw(t, "has since") {
		s.Since = drawTime(t, "since")
	}
	if s.Code == statemachine.Sleeping {
		s.Until = drawTime(t, "until")
	}
	least := 0
	if s.Code == statemachine.Fault || s.Code == statemachine.Failed {
		least = 1
	}
	for range rapid.IntRange(least, statemachine.MaxErrors).Draw(t, "errors") {
		s.Errors = append(s.Errors, statemachine.TaskError{Time: drawTime(t, "error time"), Error: drawText(t)})
	}
	return s
}

func drawText(t *rapid.T) string {
	return rapid.StringN(1, 40, -1).Draw(t, "text")
}

// drawTime draws a time of the years 1 to 9998, which are in RFC 3339's range in each zone.
func drawTime(t *rapid.T, label string) time.Time {
	first := time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC).Unix()
	last := time.Date(9998, 12, 31, 0, 0, 0, 0, time.UTC).Unix()
	at := time.Unix(rapid.Int64Range(first, last).Draw(t, label), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds"))
	return at.In(time.FixedZone("", 60*rapid.IntRange(-14*60, 14*60).Draw(t, "zone")))
}
