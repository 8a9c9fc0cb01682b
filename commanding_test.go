package metafora_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
)

// Commands that cannot be understood are dropped, and do not keep later ones.
func TestInvalidCommandsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		n := start(t, fake, untilStopped, &fakeBalancer{}, metafora.WithReclaimDelay(time.Hour))
		began := time.Now()
		for range 100 {
			fake.commands <- fakeCommand{err: fmt.Errorf("%w: made up", metafora.ErrInvalidCommand)}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("malformed commands were waited for, %v", took)
		}
		for _, cmd := range []metafora.Command{
			{},
			{Name: "explode"},
			{Name: metafora.CommandStopTask},
			metafora.StopTask(""), metafora.StopTask("a\n"),
			{Name: metafora.CommandStopTask, Parameters: map[string]any{"task_id": 7}},
			metafora.StopTask("ghost"),
		} {
			n.command(cmd)
		}
		equal(t, "running", n.ids(), []string{"a"})
		n.command(metafora.StopTask("a"))
		equal(t, "running", n.ids(), []string{})
	})
}

// A broker that fails is asked again, less and less often.
func TestReadingCommandsIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		n := start(t, fake, untilStopped, &fakeBalancer{}, metafora.WithRetryBackoff(time.Second, 8*time.Second))
		began := time.Now()
		for range 4 {
			fake.commands <- fakeCommand{err: errMadeUp}
		}
		n.command(metafora.Freeze())
		// Waits of 0.5-1, 1-2, 2-4 and 4-8 seconds.
		if took := time.Since(began); took < 7500*time.Millisecond || took > 15*time.Second {
			t.Errorf("the command after four failures came after %v", took)
		}
		if !n.Frozen() {
			t.Error("the command was not handled")
		}
		began = time.Now()
		fake.commands <- fakeCommand{err: errMadeUp}
		n.command(metafora.Unfreeze())
		if took := time.Since(began); took > time.Second {
			t.Errorf("%v after one failure: earlier ones count although a command came", took)
		}
	})
}

func TestNoCommandsAreReadOnceTheCoordinatorIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		n := start(t, fake, untilStopped, &fakeBalancer{})
		fake.commands <- fakeCommand{err: metafora.ErrClosed}
		synctest.Wait()
		select {
		case fake.commands <- fakeCommand{}:
			t.Error("asked for another command")
		default:
		}
		equal(t, "running", n.ids(), []string{"a"})
	})
}

// A frozen node keeps what it has and takes nothing in, however much there is.
func TestFrozenNodeClaimsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		let := make(held)
		fake.onClaim = let.claim("claiming")
		fake.submit("a", "claiming", "refused")
		due := time.Now().Add(time.Minute)
		b := newRefuses(map[string]time.Time{"refused": due})
		n := start(t, fake, untilStopped, b)
		n.command(metafora.Freeze())
		for i := range 1000 {
			fake.submit(fmt.Sprintf("late-%d", i))
		}
		close(let) // a claim under way may be won
		pass(time.Hour)
		equal(t, "running", n.ids(), []string{"a", "claiming"})
		if waiting := n.Counts().Deferred; waiting != 1 {
			t.Errorf("%d tasks are kept, want the one that was refused before", waiting)
		}
		if b.asked["refused"] != 1 || len(b.asked) != 3 {
			t.Errorf("a frozen node asked about %d tasks, and %d times about one that it had refused", len(b.asked), b.asked["refused"])
		}
		n.command(metafora.Unfreeze())
		if running := n.Counts().Running; running != 1003 {
			t.Errorf("%d tasks run once the node is unfrozen, want 1003", running)
		}
	})
}

func TestTaskAnnouncedToAFrozenNodeThatIsGoneWhenItThaws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		n := start(t, fake, untilStopped, &fakeBalancer{})
		n.command(metafora.Freeze())
		fake.submit("gone", "owned", "there")
		synctest.Wait()
		fake.remove("gone")
		fake.giveAway("owned")
		n.command(metafora.Unfreeze())
		equal(t, "running", n.ids(), []string{"there"})
		if counts := n.Counts(); counts != (metafora.Counts{Running: 1}) {
			t.Errorf("counts %+v", counts)
		}
	})
}

func TestDrainGivesUpEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		let := make(held)
		fake.onClaim = let.claim("claiming")
		fake.submit("a", "b", "claiming")
		var w watched
		n := start(t, fake, func(task metafora.Task) metafora.Handler {
			if task.ID() == "b" {
				return w.handler(task)
			}
			return untilStopped(task)
		}, &fakeBalancer{}, metafora.WithDrainTimeout(time.Minute))
		n.command(metafora.Drain())
		close(let)
		synctest.Wait()
		equal(t, "running", n.ids(), []string{"b"})
		pass(20 * time.Second)
		n.command(metafora.Drain()) // repeating it gives no more time
		pass(39 * time.Second)
		equal(t, "running", n.ids(), []string{"b"})
		pass(time.Second)
		equal(t, "running", n.ids(), []string{})
		equal(t, "owned", fake.owned(), []string{})
		if l := w.lives(); len(l.causes) != 1 || !errors.Is(l.causes[0], metafora.ErrStopped) {
			t.Errorf("handlers saw %+v, want %v", l, metafora.ErrStopped)
		}
		pass(time.Hour)
		if claims := fake.count("claim a"); claims != 1 {
			t.Errorf("a drained node claimed %d times, want 1", claims)
		}
		n.command(metafora.Unfreeze())
		equal(t, "running", n.ids(), []string{"a", "b", "claiming"})
		pass(time.Hour)
		equal(t, "running for long", n.ids(), []string{"a", "b", "claiming"})
		if n.Frozen() || n.Draining() {
			t.Errorf("%v: want it neither frozen nor draining", n)
		}
	})
}

// A node that is unfrozen during a drain ends no contexts any more.
func TestUnfreezeEndsADrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		var w watched
		n := start(t, fake, w.handler, &fakeBalancer{}, metafora.WithDrainTimeout(time.Minute))
		n.command(metafora.Drain())
		n.command(metafora.Unfreeze())
		pass(time.Hour)
		if l := w.lives(); len(l.causes) != 0 || l.stops != 1 {
			t.Errorf("handlers saw %+v, want one stop and no end", l)
		}
		if r := n.Tasks()[0]; r.Stopped.IsZero() {
			t.Error("the task does not say that it was asked to stop")
		}
	})
}

// The cluster is told what changes, and nothing else.
func TestClusterIsToldWhetherTheNodeAccepts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		n := start(t, fake, untilStopped, &fakeBalancer{})
		for _, cmd := range []metafora.Command{
			metafora.Unfreeze(), metafora.Freeze(), metafora.Freeze(), metafora.Drain(), metafora.Unfreeze(), metafora.Balance(), metafora.Drain(),
		} {
			n.command(cmd)
		}
		equal(t, "told", fake.told(), []bool{false, true, false})
	})
}

// While the broker is slow to hear it, only the latest matters.
func TestClusterIsToldTheLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		let := make(chan struct{})
		fake.onAccepting = func(context.Context, bool) error { <-let; return nil }
		n := start(t, fake, untilStopped, &fakeBalancer{})
		for _, cmd := range []metafora.Command{metafora.Freeze(), metafora.Unfreeze(), metafora.Freeze(), metafora.Unfreeze()} {
			n.command(cmd)
		}
		let <- struct{}{}
		synctest.Wait()
		close(let)
		synctest.Wait()
		equal(t, "told", fake.told(), []bool{false, true})
	})
}

// A call that failed may have taken effect: what holds now is told until one
// succeeds, even if it is what held before.
func TestClusterIsToldUntilItKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		var calls atomic.Int64
		var healed atomic.Bool
		fake.onAccepting = func(context.Context, bool) error {
			calls.Add(1)
			if !healed.Load() {
				return errMadeUp
			}
			return nil
		}
		n := start(t, fake, untilStopped, &fakeBalancer{}, metafora.WithRetryBackoff(time.Second, 8*time.Second))
		n.command(metafora.Freeze())
		n.command(metafora.Unfreeze())
		pass(time.Minute)
		if n := calls.Load(); n < 5 || n > 20 {
			t.Errorf("%d calls in a minute of failures", n)
		}
		healed.Store(true)
		pass(8 * time.Second)
		equal(t, "told", fake.told(), []bool{true})
	})
}
