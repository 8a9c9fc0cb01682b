//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// guarded runs guardChildren in a bubble. It notes what is killed.
type guarded struct {
	t      *testing.T
	orders *io.PipeWriter
	ended  chan error
	kills  chan int
	killed []int // what came from kills so far
	booted time.Time
}

// uptime is the monotonic clock of the bubble.
func (g *guarded) uptime() time.Duration { return time.Since(g.booted) }

func newGuarded(t *testing.T) *guarded {
	r, w := io.Pipe()
	g := &guarded{t: t, orders: w, ended: make(chan error, 1), kills: make(chan int, 8), booted: time.Now().Add(-time.Hour)}
	go func() {
		g.ended <- guardChildren(r, g.uptime, func(group int) { g.kills <- group })
	}()
	return g
}

func (g *guarded) send(deadline time.Duration, watch, forget int) {
	g.t.Helper()
	o := order{Watch: watch, Forget: forget}
	if deadline != 0 {
		o.Deadline = g.uptime() + deadline
	}
	if err := json.NewEncoder(g.orders).Encode(o); err != nil {
		g.t.Fatal(err)
	}
	synctest.Wait()
}

func (g *guarded) wantKilled(when string, groups ...int) {
	g.t.Helper()
	synctest.Wait()
	for len(g.kills) > 0 {
		g.killed = append(g.killed, <-g.kills)
	}
	slices.Sort(g.killed)
	if !slices.Equal(g.killed, groups) {
		g.t.Errorf("%s: killed %v, want %v", when, g.killed, groups)
	}
}

func (g *guarded) end() error {
	_ = g.orders.Close()
	return <-g.ended
}

func TestGuardKillsWhenKoalemosdIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		g.send(time.Minute, 1, 0)
		g.send(time.Minute, 2, 0)
		g.send(time.Minute, 3, 0)
		g.send(0, 0, 2)
		g.wantKilled("before the end")
		if err := g.end(); err != nil {
			t.Error(err)
		}
		g.wantKilled("after the end", 1, 3)
	})
}

func TestGuardKillsWhenTheLeaseRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		g.send(10*time.Second, 1, 0)
		time.Sleep(9 * time.Second)
		g.send(10*time.Second, 0, 0)
		time.Sleep(9 * time.Second)
		g.wantKilled("while renewed")
		time.Sleep(time.Second)
		g.wantKilled("at the deadline", 1)

		g.send(10*time.Second, 2, 0)
		g.wantKilled("with a new lease", 1)
		time.Sleep(10 * time.Second)
		g.wantKilled("at its deadline", 1, 2)
		_ = g.end()
	})
}

func TestGuardHeedsNoEarlierDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		g.send(10*time.Second, 1, 0)
		g.send(time.Second, 2, 0)
		time.Sleep(2 * time.Second)
		g.wantKilled("after the earlier deadline")
		_ = g.end()
	})
}

func TestGuardKillsWhatComesTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		g.send(-time.Second, 1, 0)
		g.wantKilled("watched past the deadline", 1)
		_ = g.end()
	})
}

func TestGuardThatUnderstandsNothingKills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(t)
		g.send(time.Minute, 1, 0)
		fmt.Fprintln(g.orders, "what?")
		if err := <-g.ended; err == nil {
			t.Error("no error for an order that is none")
		}
		g.wantKilled("after it", 1)
	})
}

func TestMonotonicClockIsThatOfTheMachine(t *testing.T) {
	before := monotonic()
	time.Sleep(time.Millisecond)
	if after := monotonic(); before <= 0 || after < before+time.Millisecond {
		t.Errorf("clock went from %v to %v", before, after)
	}
}
