package statemachine

import (
	"fmt"
	"math"
	"time"

	"github.com/metafora-go/metafora"
)

// ErrHandler decides what becomes of a task that met an error. errs are the
// errors it has had, oldest first; the last one is new. The result is a message
// to a task in state fault, and the errors to remember:
//
//   - Sleep tries again at that time.
//   - Error gives the task up: it fails, with the message's text as its last
//     error.
//   - Any other message, Checkpoint say, leaves the task in state fault with
//     all its errors, until an operator sends it a command. So does a panic,
//     and what cannot be stored.
//
// It must not block, and is called concurrently for different tasks.
type ErrHandler func(task metafora.Task, errs []TaskError) (Message, []TaskError)

// DefaultErrHandler tries again after 10 minutes and gives a task up at its
// eighth error within 4 hours. Older errors are forgotten.
func DefaultErrHandler(_ metafora.Task, errs []TaskError) (Message, []TaskError) {
	return Backoff{Base: 10 * time.Minute, Max: 10 * time.Minute, Window: 4 * time.Hour, Limit: 8}.decide(errs, time.Now())
}

// Backoff configures an ErrHandler that waits longer after each error. Its zero
// value waits 10 seconds, then 20, 40 and so on up to an hour, for as long as
// errors come.
type Backoff struct {
	// Base is the wait after the first error. 0 means 10 seconds.
	Base time.Duration
	// Max is the longest wait. 0 means an hour.
	Max time.Duration
	// Factor is by how much each wait is longer than the one before. 0 means 2;
	// 1 makes all of them the same.
	Factor float64
	// Jitter is the share of a wait, from 0 to 1, that chance may take away,
	// so that tasks which failed together are not tried together. It needs
	// Random.
	Jitter float64
	// Random returns numbers in [0,1), as the method Float64 of a
	// math/rand/v2 Rand does. It must be safe for concurrent use. nil means
	// that there is no jitter.
	Random func() float64
	// Limit is the number of errors within Window that makes a task fail. 0
	// means that it never does. More than MaxErrors counts as MaxErrors, since
	// no more are kept.
	Limit int
	// Window is how long an error counts, and is remembered. It should be
	// several times Max. 0 means 24 hours.
	Window time.Duration
}

// BackoffErrHandler returns an ErrHandler that waits as b says. The errors that
// it counts are stored with the task, so that the waits go on growing when the
// task is handed over.
func BackoffErrHandler(b Backoff) ErrHandler {
	return func(_ metafora.Task, errs []TaskError) (Message, []TaskError) {
		return b.decide(errs, time.Now())
	}
}

func (b Backoff) decide(errs []TaskError, now time.Time) (Message, []TaskError) {
	b = b.withDefaults()
	var recent []TaskError
	for _, e := range errs {
		if now.Sub(e.Time) < b.Window {
			recent = append(recent, e)
		}
	}
	if b.Limit > 0 && len(recent) >= min(b.Limit, MaxErrors) {
		return Error(fmt.Errorf("given up after %d errors within %s", len(recent), b.Window)), recent
	}
	return Sleep(now.Add(b.wait(len(recent)))), recent
}

// wait returns how long to wait after the nth error.
func (b Backoff) wait(n int) time.Duration {
	wait := b.Max
	if grown := float64(b.Base) * math.Pow(b.Factor, float64(max(0, n-1))); grown < float64(b.Max) {
		wait = time.Duration(grown)
	}
	if b.Random != nil {
		wait -= time.Duration(float64(wait) * min(max(b.Jitter, 0), 1) * b.Random())
	}
	return wait
}

func (b Backoff) withDefaults() Backoff {
	if b.Base <= 0 {
		b.Base = 10 * time.Second
	}
	if b.Max <= 0 {
		b.Max = time.Hour
	}
	if b.Factor <= 0 {
		b.Factor = 2
	}
	if b.Window <= 0 {
		b.Window = 24 * time.Hour
	}
	return b
}
