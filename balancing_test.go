package metafora_test

import (
	"context"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
)

// timedBalancer notes when its rounds were.
type timedBalancer struct {
	fakeBalancer
	at []time.Time
}

func newTimedBalancer(release ...string) *timedBalancer {
	b := &timedBalancer{}
	b.balance = func() []string {
		b.at = append(b.at, time.Now())
		return release
	}
	return b
}

func TestRoundsComeAtIntervalsWithJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTimedBalancer()
		last := time.Now()
		start(t, newFake(), untilStopped, b, metafora.WithBalanceInterval(time.Minute))
		pass(time.Hour)
		if len(b.at) < 45 || len(b.at) > 75 {
			t.Errorf("%d rounds in an hour, want about 60", len(b.at))
		}
		waits := make(map[time.Duration]bool)
		for _, at := range b.at {
			wait := at.Sub(last)
			if wait < 30*time.Second || wait > 90*time.Second {
				t.Errorf("a round after %v, want half a minute to one and a half", wait)
			}
			waits[wait], last = true, at
		}
		if len(waits) < len(b.at)/2 {
			t.Errorf("%d different waits in %d rounds", len(waits), len(b.at))
		}
	})
}

func TestLongestIntervalMeansNever(t *testing.T) {
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			b := newTimedBalancer()
			n := start(t, newFake(), untilStopped, b, metafora.WithSeed(seed),
				metafora.WithBalanceInterval(math.MaxInt64), metafora.WithBalanceDelay(math.MaxInt64))
			n.fake.context().ClusterChanged()
			pass(1000 * time.Hour)
			if len(b.at) > 0 {
				t.Errorf("%d rounds", len(b.at))
			}
		})
	}
}

// Nodes join and leave: one round soon answers for all changes until then.
func TestClusterChangesAreAnsweredSoonByOneRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTimedBalancer()
		n := start(t, newFake(), untilStopped, b, never, metafora.WithBalanceDelay(10*time.Second))
		for range 3 {
			changed, before := time.Now(), len(b.at)
			for range 4 {
				n.fake.context().ClusterChanged()
				pass(time.Second)
			}
			pass(time.Hour)
			if len(b.at) != before+1 {
				t.Fatalf("%d rounds for one change of the cluster", len(b.at)-before)
			}
			if wait := b.at[before].Sub(changed); wait < 5*time.Second || wait > 15*time.Second {
				t.Errorf("a round %v after the change, want 5 to 15 seconds", wait)
			}
		}
	})
}

// A cluster that keeps changing does not put the round off for ever.
func TestRestlessClusterIsBalanced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTimedBalancer()
		n := start(t, newFake(), untilStopped, b, never, metafora.WithBalanceDelay(10*time.Second))
		for range 600 {
			n.fake.context().ClusterChanged()
			pass(100 * time.Millisecond)
		}
		if len(b.at) < 4 || len(b.at) > 12 {
			t.Errorf("%d rounds in a minute of changes", len(b.at))
		}
	})
}

func TestCommandBalancesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTimedBalancer()
		n := start(t, newFake(), untilStopped, b, never)
		n.command(metafora.Balance())
		n.command(metafora.Balance())
		if len(b.at) != 2 {
			t.Errorf("%d rounds, want 2", len(b.at))
		}
		n.command(metafora.Freeze())
		n.command(metafora.Balance())
		if len(b.at) != 2 {
			t.Errorf("%d rounds, want 2: a frozen node does not balance", len(b.at))
		}
	})
}

// A frozen node sits out regular rounds and changes; unfrozen, it answers them.
func TestFrozenNodeDoesNotBalance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTimedBalancer()
		n := start(t, newFake(), untilStopped, b, metafora.WithBalanceInterval(time.Minute))
		n.command(metafora.Freeze())
		n.fake.context().ClusterChanged()
		pass(time.Hour)
		if len(b.at) != 0 {
			t.Errorf("%d rounds on a frozen node", len(b.at))
		}
		n.command(metafora.Unfreeze())
		if len(b.at) != 1 {
			t.Errorf("%d rounds, want the one that was due", len(b.at))
		}
	})
}

// A balancer may name a task twice, or tasks that do not run here, or that are
// stopping already: each is asked to stop once.
func TestTasksToReleaseAreStoppedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		let := make(held)
		fake.onClaim = let.claim("claiming")
		fake.submit("a", "b", "claiming")
		var stops struct{ a, other atomic.Int64 }
		end := make(chan struct{})
		seen := &recorder{}
		b := newTimedBalancer("a", "a", "ghost", "", "claiming")
		n := start(t, fake, func(task metafora.Task) metafora.Handler {
			counter := &stops.other
			if task.ID() == "a" {
				counter = &stops.a
			}
			return handler{run: func(context.Context) bool { <-end; return false }, stop: func() { counter.Add(1) }}
		}, b, never, metafora.WithObserver(seen))
		n.command(metafora.Balance())
		n.command(metafora.Balance())
		if stops.a.Load() != 1 || stops.other.Load() != 0 {
			t.Errorf("%d stops of a, %d of others, want one of a", stops.a.Load(), stops.other.Load())
		}
		equal(t, "rounds", seen.events()[len(seen.events())-2:], []string{"balanced 1", "balanced 0"})
		if r := n.Tasks()[0]; r.Stopped.IsZero() || !n.Tasks()[1].Stopped.IsZero() {
			t.Errorf("tasks %+v, want a stopped, b not", n.Tasks())
		}
		close(let)
		close(end)
	})
}

// The balancer sees what this node will keep.
func TestBalancerSeesWhatTheNodeKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		let := make(held)
		fake.onClaim = let.claim("claiming")
		fake.submit("b", "a", "claiming", "short")
		end := make(chan struct{})
		b := &fakeBalancer{}
		n := start(t, fake, func(task metafora.Task) metafora.Handler {
			return handler{run: func(context.Context) bool {
				if task.ID() != "short" {
					<-end
				}
				return true
			}}
		}, b, never)
		want := func(count int, running ...string) {
			t.Helper()
			synctest.Wait()
			var ids []string
			for _, r := range b.bc.Tasks() {
				ids = append(ids, r.ID())
			}
			equal(t, "tasks", ids, running)
			if got := b.bc.Count(); got != count {
				t.Errorf("count %d, want %d", got, count)
			}
		}
		if b.bc.Node() != "node" {
			t.Errorf("node %q", b.bc.Node())
		}
		want(3, "a", "b")
		n.command(metafora.StopTask("a"))
		want(2, "b")
		fake.context().Lost(fake.takeBack("b"), metafora.ErrNotOwner)
		want(1)
		fake.remove("claiming")
		close(let)
		want(0)
		close(end)
		want(0)
	})
}

func TestBalancerThatPanicsStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		b := &fakeBalancer{balance: func() []string { panic(errMadeUp) }}
		asked := 0
		b.canClaim = func(task metafora.Task) (time.Time, bool) {
			if task.ID() == "poison" {
				asked++
				panic(errMadeUp)
			}
			return time.Time{}, true
		}
		fake.submit("poison", "a")
		n := start(t, fake, untilStopped, b, metafora.WithBalanceInterval(time.Minute))
		equal(t, "running", n.ids(), []string{"a"})
		equal(t, "waiting", n.ignores(), []string{"poison balancer"})
		n.command(metafora.Balance())
		pass(time.Hour)
		equal(t, "running", n.ids(), []string{"a"})
		if asked < 30 || asked > 150 {
			t.Errorf("asked %d times about a task in an hour, want one or two a minute", asked)
		}
		if err := n.end(); err != nil {
			t.Error(err)
		}
	})
}
