package metafora_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
)

// recorder is an Observer that notes what it is told.
type recorder struct {
	metafora.NopObserver
	panicked atomic.Value

	mu    sync.Mutex // guards lines
	lines []string
}

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *recorder) events() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.lines)
}

func (r *recorder) Refused(t metafora.Task, _ time.Time) { r.note("refused %s", t.ID()) }
func (r *recorder) Claimed(t metafora.Task, result metafora.ClaimResult, _ time.Duration) {
	r.note("claimed %s %s", t.ID(), result)
}
func (r *recorder) Running(c metafora.Claim, _ time.Duration) { r.note("running %s", c.TaskID) }
func (r *recorder) Returned(c metafora.Claim, done bool, _ time.Duration) {
	r.note("returned %s %t", c.TaskID, done)
}

func (r *recorder) Panicked(c metafora.Claim, value any, stack []byte) {
	if len(stack) == 0 {
		r.note("no stack")
	}
	r.panicked.Store(value)
	r.note("panicked %s", c.TaskID)
}
func (r *recorder) Lost(c metafora.Claim, _ error) { r.note("lost %s", c.TaskID) }
func (r *recorder) Done(c metafora.Claim)          { r.note("done %s", c.TaskID) }
func (r *recorder) Released(c metafora.Claim)      { r.note("released %s", c.TaskID) }
func (r *recorder) Balanced(stopped int)           { r.note("balanced %d", stopped) }

func TestObserverIsToldTheLifeOfATask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		seen := &recorder{}
		refusals := 2
		b := &fakeBalancer{canClaim: func(metafora.Task) (time.Time, bool) {
			refusals--
			return time.Now().Add(time.Second), refusals < 0
		}}
		b.balance = func() []string { return []string{"a"} }
		failures := 1
		fake.onClaim = func(context.Context, metafora.Task) error {
			if failures--; failures >= 0 {
				return errMadeUp
			}
			return nil
		}
		n := start(t, fake, untilStopped, b, metafora.WithObserver(seen))
		time.Sleep(10 * time.Second)
		n.command(metafora.Balance())
		equal(t, "events", seen.events(), []string{
			"refused a", "refused a", "claimed a failed", "claimed a won", "running a",
			"balanced 1", "returned a false", "released a",
		})
	})
}

func TestClaimResultsHaveNames(t *testing.T) {
	var names []string
	for r := metafora.ClaimWon; r <= metafora.ClaimFailed+1; r++ {
		names = append(names, r.String())
	}
	equal(t, "names", names, []string{"won", "lost", "gone", "failed", "invalid"})
}

func TestNopObserverIgnoresEverything(*testing.T) {
	var o metafora.Observer = metafora.NopObserver{}
	task, claim := metafora.NewTask("a"), metafora.Claim{}
	o.Refused(task, time.Time{})
	o.Claimed(task, metafora.ClaimWon, 0)
	o.Running(claim, 0)
	o.Returned(claim, true, 0)
	o.Panicked(claim, nil, nil)
	o.Lost(claim, nil)
	o.Done(claim)
	o.Released(claim)
	o.Balanced(0)
}
