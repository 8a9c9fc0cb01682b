package koalemos_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/examples/internal/koalemos"
	"github.com/metafora-go/metafora/statemachine"
)

var berlin = time.FixedZone("CET", 3600)

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 12, 31, 15, 4, 5, 0, berlin)
	for text, want := range map[string]string{
		"15:05":                "2026-12-31T15:05:00+01:00",
		"15:04":                "2027-01-01T15:04:00+01:00",
		"15:04:05":             "2027-01-01T15:04:05+01:00",
		"15:04:06":             "2026-12-31T15:04:06+01:00",
		"00:00":                "2027-01-01T00:00:00+01:00",
		"2026-01-02T15:04":     "2026-01-02T15:04:00+01:00",
		"2026-01-02 15:04:05":  "2026-01-02T15:04:05+01:00",
		"2026-01-02T15:04:05Z": "2026-01-02T15:04:05Z",
		"+1h30m":               "2026-12-31T16:34:05+01:00",
	} {
		got, err := koalemos.ParseTime(text, now)
		if err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%s: got %v (%v), want %s", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "now", "24:00", "15", "+", "+-1h", "+90", "2026-02-30T15:04", "-1h"} {
		if got, err := koalemos.ParseTime(bad, now); !errors.Is(err, koalemos.ErrSchedule) || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: got %v, want an error that names it, not %v", bad, got, err)
		}
	}
}

func FuzzParseTime(f *testing.F) {
	for _, text := range []string{"15:04", "2026-01-02T15:04", "+1h", "+", "é", "2026-01-02T15:04:05+14:00"} {
		f.Add(text)
	}
	now := time.Date(2026, 12, 31, 15, 4, 5, 0, berlin)
	f.Fuzz(func(t *testing.T, text string) {
		at, err := koalemos.ParseTime(text, now)
		if err != nil && !errors.Is(err, koalemos.ErrSchedule) {
			t.Errorf("%q: %v", text, err)
		}
		if strings.HasPrefix(text, "+") && err == nil && at.Before(now) {
			t.Errorf("%q is before now: %v", text, at)
		}
	})
}

// TestNextIsTheFirstTimeToCome holds for all schedules: the next time is in the
// future, at a whole number of periods from the first, and none is skipped.
func TestNextIsTheFirstTimeToCome(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		every := time.Duration(rapid.Int64Range(int64(time.Second), int64(48*time.Hour)).Draw(t, "every"))
		at := now.Add(time.Duration(rapid.Int64Range(-int64(1000*time.Hour), int64(1000*time.Hour)).Draw(t, "at")))
		s := koalemos.Schedule{At: at, Every: koalemos.Duration(every)}
		next, again := s.Next(now)
		switch {
		case !again:
			t.Fatal("there is no next time")
		case !next.After(now):
			t.Fatalf("%v is not after now", next)
		case next.Sub(at)%every != 0 || next.Before(at):
			t.Fatalf("%v is not a time of %v", next, s)
		case next.After(at) && next.Add(-every).After(now):
			t.Fatalf("%v is not the first one of %v", next, s)
		}
	})
	if next, again := (koalemos.Schedule{At: time.Now()}).Next(time.Now()); again {
		t.Errorf("a command without a period runs again at %v", next)
	}
}

func TestFirstStateIsValid(t *testing.T) {
	now := time.Now()
	for at, want := range map[time.Time]statemachine.StateCode{
		{}:                   statemachine.Runnable,
		now.Add(-time.Hour):  statemachine.Runnable,
		now.Add(time.Second): statemachine.Sleeping,
	} {
		state := koalemos.Schedule{At: at}.FirstState(now)
		if err := state.Valid(); err != nil || state.Code != want {
			t.Errorf("at %v: %v (%v), want %v", at, state, err, want)
		}
	}
}

func TestScheduledTaskSurvivesTheBroker(t *testing.T) {
	when := koalemos.Schedule{At: time.Date(2026, 1, 2, 15, 4, 5, 6, berlin), Every: koalemos.Duration(90 * time.Minute)}
	task, err := koalemos.NewScheduledTask("t", when, "true")
	if err != nil {
		t.Fatal(err)
	}
	props, err := metafora.EncodeProps(task)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := metafora.DecodeTask(koalemos.DecodeTask, "t", props)
	if err != nil {
		t.Fatal(err)
	}
	got := decoded.(*koalemos.Task)
	if !got.At.Equal(when.At) || got.Every != when.Every {
		t.Errorf("stored %v as %s, read %v", when, props, got.Schedule)
	}
	if got.Labels()[koalemos.LabelStateful] != koalemos.StatefulYes {
		t.Errorf("any node may run it: %v", got.Labels())
	}
	if want := "at 2026-01-02T15:04:05+01:00 every 1h30m0s"; got.Schedule.String() != want {
		t.Errorf("reads %q, want %q", got.Schedule, want)
	}
}

func TestTaskWithoutScheduleIsStoredWithoutOne(t *testing.T) {
	task, err := koalemos.NewTask("t", "true")
	if err != nil {
		t.Fatal(err)
	}
	if props, err := json.Marshal(task); err != nil || string(props) != `{"args":["true"]}` {
		t.Errorf("stored as %s (%v)", props, err)
	}
	if labels := task.Labels(); labels != nil {
		t.Errorf("needs a node with %v", labels)
	}
}

func TestBadScheduleIsRefused(t *testing.T) {
	for _, when := range []koalemos.Schedule{
		{Every: koalemos.Duration(time.Hour)},
		{At: time.Now(), Every: koalemos.Duration(time.Millisecond)},
		{At: time.Now(), Every: koalemos.Duration(-time.Hour)},
	} {
		if task, err := koalemos.NewScheduledTask("t", when, "true"); !errors.Is(err, koalemos.ErrSchedule) {
			t.Errorf("%v: got %v (%v), want ErrSchedule", when, task, err)
		}
	}
	for _, props := range []string{`{"args":["true"],"every":"1h"}`, `{"args":["true"],"every":"often"}`, `{"args":["true"],"at":"noon"}`} {
		if task, err := koalemos.DecodeTask("t", []byte(props)); err == nil {
			t.Errorf("%s became the task %v", props, task)
		}
	}
}
