package metafora_test

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
)

// never makes balance rounds, which bring refused tasks back, stay away.
var never = metafora.WithBalanceInterval(math.MaxInt64)

// refuses is a balancer that refuses some tasks for a while and counts how often
// it was asked about each.
type refuses struct {
	fakeBalancer
	until map[string]time.Time // it claims those that have none
	asked map[string]int
}

func newRefuses(until map[string]time.Time) *refuses {
	r := &refuses{until: until, asked: make(map[string]int)}
	r.canClaim = func(t metafora.Task) (time.Time, bool) {
		r.asked[t.ID()]++
		until, refused := r.until[t.ID()]
		return until, !refused || (!until.IsZero() && !time.Now().Before(until))
	}
	return r
}

func TestRefusedTaskComesBackAtTheTimeNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a", "b", "c")
		now := time.Now()
		b := newRefuses(map[string]time.Time{"a": now.Add(time.Hour), "b": now.Add(time.Minute)})
		n := start(t, fake, untilStopped, b, never)
		equal(t, "running", n.ids(), []string{"c"})
		equal(t, "waiting", n.ignores(), []string{"a balancer", "b balancer"})
		if until := n.Ignores()[0].Until; !until.Equal(now.Add(time.Hour)) {
			t.Errorf("a waits until %v, want %v", until, now.Add(time.Hour))
		}
		pass(time.Minute - time.Nanosecond)
		equal(t, "running just before the time", n.ids(), []string{"c"})
		pass(time.Nanosecond)
		equal(t, "running", n.ids(), []string{"b", "c"})
		pass(time.Hour)
		equal(t, "running", n.ids(), []string{"a", "b", "c"})
		if b.asked["a"] != 2 || b.asked["b"] != 2 {
			t.Errorf("asked %v, want twice for each refused task", b.asked)
		}
	})
}

// A balancer that names times in the past must not keep the node busy, nor hide
// the tasks behind the one that it refuses.
func TestRefusedTaskIsNotOfferedInATightLoop(t *testing.T) {
	for name, until := range map[string]time.Time{
		"zero": {}, "past": time.Unix(0, 0), "far past": time.Unix(math.MinInt32, 0),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake()
				b := newRefuses(nil)
				b.canClaim = func(t metafora.Task) (time.Time, bool) {
					b.asked[t.ID()]++
					return until, t.ID() == "b"
				}
				fake.submit("a", "b")
				n := start(t, fake, untilStopped, b, never)
				equal(t, "running", n.ids(), []string{"b"})
				pass(10 * time.Second)
				if asked := b.asked["a"]; asked < 10 || asked > 101 {
					t.Errorf("asked %d times in 10 seconds, want at most 10 a second", asked)
				}
			})
		})
	}
}

func TestDeferredTaskThatIsGoneOrOwnedIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("gone", "owned", "there")
		due := time.Now().Add(time.Minute)
		b := newRefuses(map[string]time.Time{"gone": due, "owned": due, "there": due})
		n := start(t, fake, untilStopped, b, never)
		fake.remove("gone")
		fake.giveAway("owned")
		pass(time.Minute)
		equal(t, "running", n.ids(), []string{"there"})
		if b.asked["gone"] != 1 || b.asked["owned"] != 1 {
			t.Errorf("asked %v, want once for what is gone or owned", b.asked)
		}
		if fake.count("claim gone")+fake.count("claim owned") > 0 {
			t.Errorf("calls %q: a claim for what is gone or owned", fake.log())
		}
		equal(t, "waiting", n.ignores(), []string{})
	})
}

// Many refused tasks that are due all the time hold up neither those that are
// announced, nor commands.
func TestDeferredTasksHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		b := newRefuses(make(map[string]time.Time))
		const many = 2000
		for i := range many {
			id := fmt.Sprintf("refused-%04d", i)
			b.until[id] = time.Time{}
			fake.submit(id)
		}
		const cost = 10 * time.Millisecond // one round of all takes far longer than they wait
		canClaim := b.canClaim
		b.canClaim = func(t metafora.Task) (time.Time, bool) {
			time.Sleep(cost)
			return canClaim(t)
		}
		n := start(t, fake, untilStopped, b, never, metafora.WithReclaimDelay(time.Hour))
		pass(2 * many * cost)
		if waiting := len(n.Ignores()); waiting < many-1 { // one is being asked about
			t.Fatalf("%d tasks wait, want %d", waiting, many)
		}
		fake.submit("x", "y", "z")
		pass(10 * cost)
		equal(t, "running", n.ids(), []string{"x", "y", "z"})
		fake.commands <- fakeCommand{cmd: metafora.StopTask("x")}
		pass(4 * cost)
		equal(t, "running", n.ids(), []string{"y", "z"})
	})
}

// What the balancer said was about the task as it was.
func TestRefusedTaskThatIsAnnouncedAgainIsConsideredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		b := newRefuses(map[string]time.Time{"a": time.Now().Add(time.Hour)})
		var ran metafora.Task
		n := start(t, fake, func(task metafora.Task) metafora.Handler {
			ran = task
			return untilStopped(task)
		}, b, never)
		equal(t, "waiting", n.ignores(), []string{"a balancer"})
		again := &described{id: "a"}
		delete(b.until, "a")
		fake.announce(again)
		synctest.Wait()
		equal(t, "running", n.ids(), []string{"a"})
		equal(t, "waiting", n.ignores(), []string{})
		if ran != again {
			t.Errorf("ran %v, want the new submission", ran)
		}
	})
}

func TestBalanceRoundBringsRefusedTasksBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		b := newRefuses(map[string]time.Time{"a": time.Now().Add(time.Hour)})
		n := start(t, fake, untilStopped, b, never, metafora.WithBalanceDelay(time.Second))
		delete(b.until, "a")
		fake.context().ClusterChanged()
		pass(1500 * time.Millisecond)
		equal(t, "running", n.ids(), []string{"a"})
	})
}

// Those that are refused come back before others that wait for a later time.
func TestRefusedTasksComeBackBeforeThoseThatWaitLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("released", "x", "y", "z")
		later := time.Now().Add(time.Hour)
		b := newRefuses(map[string]time.Time{"x": later, "y": later, "z": later})
		n := start(t, fake, untilStopped, b, never, metafora.WithReclaimDelay(time.Minute))
		n.command(metafora.StopTask("released"))
		for id := range b.until {
			delete(b.until, id)
		}
		n.command(metafora.Balance())
		equal(t, "running", n.ids(), []string{"x", "y", "z"})
	})
}

// A broker may announce a task that is released before the node hears that it is.
func TestTaskAnnouncedBeforeItsReleaseReturnsIsClaimedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		fake.afterRelease = func(metafora.Claim) { time.Sleep(time.Second) }
		n := start(t, fake, untilStopped, &fakeBalancer{}, metafora.WithReclaimDelay(time.Minute))
		n.command(metafora.StopTask("a"))
		pass(time.Second)
		equal(t, "waiting", n.ignores(), []string{"a released"})
		pass(time.Minute)
		equal(t, "running", n.ids(), []string{"a"})
	})
}

// A task that was released and is announced at once, as brokers do, waits in
// its place; the one announced last is claimed.
func TestReleasedTaskAnnouncedAnewKeepsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		n := start(t, fake, untilStopped, &fakeBalancer{}, metafora.WithReclaimDelay(time.Minute))
		n.command(metafora.StopTask("a"))
		fake.announce(metafora.NewTask("a"), &described{id: "a"})
		pass(59 * time.Second)
		equal(t, "waiting", n.ignores(), []string{"a released"})
		pass(time.Second)
		equal(t, "running", n.ids(), []string{"a"})
		if _, ok := n.Tasks()[0].Task.(*described); !ok {
			t.Errorf("runs %v, want the task that was announced last", n.Tasks()[0].Task)
		}
	})
}
