package koalemos

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/metafora-go/metafora/statemachine"
)

// Schedule says when a command runs. The zero value says: now, once.
type Schedule struct {
	// At is when the command runs first. The times of all later runs are whole
	// multiples of Every after it.
	At time.Time `json:"at,omitzero"`
	// Every is the time from one run to the next, 0 for a command that runs
	// once.
	Every Duration `json:"every,omitzero"`
}

// minEvery keeps a command from doing little but starting.
const minEvery = time.Second

// ErrSchedule says that a schedule makes no sense.
var ErrSchedule = errors.New("bad schedule")

func (s Schedule) validate() error {
	switch {
	case s.Every < 0 || s.Every > 0 && s.Every < Duration(minEvery):
		return fmt.Errorf("%w: every %v is less than %v", ErrSchedule, s.Every, minEvery)
	case s.Every > 0 && s.At.IsZero():
		return fmt.Errorf("%w: every %v, but from when on?", ErrSchedule, s.Every)
	}
	return nil
}

// FirstState returns the state of a task that has no other yet: it sleeps until
// its time has come.
func (s Schedule) FirstState(now time.Time) statemachine.State {
	if s.At.After(now) {
		return statemachine.State{Code: statemachine.Sleeping, Since: now, Until: s.At}
	}
	return statemachine.State{Code: statemachine.Runnable, Since: now}
}

// Next returns when a command runs again that ran just now, and false if it does
// not. Times that passed meanwhile are left out.
func (s Schedule) Next(now time.Time) (time.Time, bool) {
	switch every := time.Duration(s.Every); {
	case every <= 0:
		return time.Time{}, false
	case s.At.After(now):
		return s.At, true
	default:
		return now.Add(every - now.Sub(s.At)%every), true
	}
}

// String returns the schedule as a person would type it, "" for the zero value.
func (s Schedule) String() string {
	switch {
	case s.At.IsZero():
		return ""
	case s.Every == 0:
		return "at " + s.At.Format(time.RFC3339)
	}
	return fmt.Sprintf("at %s every %v", s.At.Format(time.RFC3339), s.Every)
}

// Duration is a time.Duration that reads "1h30m" in JSON.
type Duration time.Duration

// String returns the duration without units that are zero.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = Duration(parsed)
	return err
}

// timeLayouts are the ways to write a day and a time, in the local time zone but
// for the first.
var timeLayouts = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04"}

// ParseTime understands when a command is to run: a time of day such as 15:04,
// today or else tomorrow; a day and a time such as 2006-01-02T15:04; or +1h30m
// from now.
func ParseTime(text string, now time.Time) (time.Time, error) {
	if after, ok := strings.CutPrefix(text, "+"); ok {
		d, err := time.ParseDuration(after)
		if err != nil || d < 0 {
			return time.Time{}, fmt.Errorf("%w: %q is not like +1h30m", ErrSchedule, text)
		}
		return now.Add(d), nil
	}
	for _, layout := range []string{time.TimeOnly, "15:04"} {
		if clock, err := time.Parse(layout, text); err == nil {
			return nextClock(clock, now), nil
		}
	}
	for _, layout := range timeLayouts {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: %q is not like 15:04, 2006-01-02T15:04 or +1h30m", ErrSchedule, text)
}

// nextClock returns when a clock shows the time of day next.
func nextClock(clock, now time.Time) time.Time {
	year, month, day := now.Date()
	for {
		at := time.Date(year, month, day, clock.Hour(), clock.Minute(), clock.Second(), 0, now.Location())
		if at.After(now) {
			return at
		}
		day++
	}
}
