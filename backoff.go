package metafora

import (
	"context"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"time"
)

// jitter draws numbers. Each is a function of the seed, of what it is for and
// of a count, not of the numbers drawn before: goroutines that draw at the same
// time in any order get the same numbers, which a simulation needs.
type jitter struct{ seed uint64 }

func newJitter(seed uint64, node string) jitter { return jitter{seed ^ hash(node)} }

// around returns a time from half of d to one and a half times d, as far as a
// Duration can hold it: d may be the longest there is, meant as never.
func (j jitter) around(d time.Duration, what string, count int) time.Duration {
	drawn := d/2 + time.Duration(j.fraction(what, count)*float64(d))
	if drawn < 0 {
		return math.MaxInt64
	}
	return drawn
}

func (j jitter) fraction(what string, count int) float64 {
	source := rand.NewPCG(j.seed^hash(what), uint64(count))
	return rand.New(source).Float64()
}

func hash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}

// backoff tells how long to wait before a failed call is repeated.
type backoff struct {
	least, most time.Duration
	jitter      jitter
}

// delay returns the wait after the given number of failures in a row, at least
// one. what is being tried tells the waits of concurrent callers apart.
func (b backoff) delay(what string, failures int) time.Duration {
	d := b.least
	for range failures - 1 {
		if d >= b.most/2 {
			d = b.most
			break
		}
		d *= 2
	}
	return d/2 + time.Duration(b.jitter.fraction(what, failures)*float64(d/2))
}

// sleep waits for the delay and reports whether it passed before ctx ended.
func (b backoff) sleep(ctx context.Context, what string, failures int) bool {
	timer := time.NewTimer(b.delay(what, failures))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
