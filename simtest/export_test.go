package simtest

import (
	"flag"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// recorder takes a failure down in place of failing the test.
type recorder struct {
	*testing.T
	failed bool
	text   strings.Builder
}

func (r *recorder) Fail()                     { r.failed = true }
func (r *recorder) Failed() bool              { return r.failed }
func (r *recorder) Log(args ...any)           { fmt.Fprintln(&r.text, args...) }
func (r *recorder) Logf(f string, a ...any)   { fmt.Fprintf(&r.text, f+"\n", a...) }
func (r *recorder) Errorf(f string, a ...any) { r.Logf(f, a...); r.Fail() }
func (r *recorder) Fatalf(f string, a ...any) { r.Errorf(f, a...); r.FailNow() }
func (r *recorder) FailNow()                  { r.Fail(); runtime.Goexit() }

// FailureOf does what Run does, shrinking for some time at most, and returns what that
// would have failed with, "" if it would not.
func FailureOf(t *testing.T, cfg Config, shrink time.Duration, f func(*Sim)) string {
	t.Helper()
	full, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"rapid.nofailfile": "true", "rapid.shrinktime": shrink.String()} {
		keep := flag.Lookup(name).Value.String()
		if err := flag.Set(name, value); err != nil {
			t.Fatal(err)
		}
		defer flag.Set(name, keep)
	}
	r := &recorder{T: t}
	p := &property{t: t, cfg: full, f: f, dice: newDice()}
	over := make(chan struct{})
	go func() {
		defer close(over)
		inTurn(full, func() {
			for p.tried < full.Schedules && !r.failed {
				rapid.Check(r, p.check)
			}
		})
	}()
	<-over
	if !r.failed {
		return ""
	}
	return r.text.String()
}
