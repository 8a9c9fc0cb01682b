package balance_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/balance"
)

// With this task and nodes of these names, a goes first, then c, then b.
const task = "t1"

// three returns the balancers of three nodes, in the order of the task. They have
// other tasks, so that one more does not change the order.
func three(t *testing.T, delay time.Duration) (order []metafora.Balancer, cluster fixed) {
	t.Helper()
	cluster = fixed{"a": 10, "b": 10, "c": 10}
	for i, name := range []string{"a", "c", "b"} {
		b := balance.NewRendezvous(cluster, balance.WithDelay(delay))
		b.Init(onNode{name: name, tasks: make([]string, 10)})
		until, ok := b.CanClaim(metafora.NewTask(task))
		if want := time.Now().Add(time.Duration(i) * delay); ok != (i == 0) || !until.Equal(want) {
			t.Fatalf("%s: until %v, %v; want %v", name, until, ok, want)
		}
		order = append(order, b)
	}
	return order, cluster
}

func TestWhoComesBackInTimeMayClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		order, _ := three(t, time.Second)
		time.Sleep(time.Second)
		if _, ok := order[1].CanClaim(metafora.NewTask(task)); !ok {
			t.Error("the second node may not claim after one delay")
		}
		until, ok := order[2].CanClaim(metafora.NewTask(task))
		if ok || !until.Equal(time.Now().Add(time.Second)) {
			t.Errorf("the third node, asked early, got %v, %v", until, ok)
		}
		time.Sleep(time.Second + 100*time.Millisecond)
		if _, ok := order[2].CanClaim(metafora.NewTask(task)); !ok {
			t.Error("the third node may not claim a little late")
		}
	})
}

// All nodes remember a task from before it had an owner.
func TestTaskAnnouncedAnewIsLeftToTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		order, cluster := three(t, time.Second)
		time.Sleep(5 * time.Second)
		cluster["a"]++
		for i, b := range order {
			until, ok := b.CanClaim(metafora.NewTask(task))
			if want := time.Now().Add(time.Duration(i) * time.Second); ok != (i == 0) || !until.Equal(want) {
				t.Errorf("node %d: until %v, %v; want %v", i, until, ok, want)
			}
		}
	})
}

// The same while the others still wait for their turns.
func TestTaskAnnouncedAnewBeforeItsTurnIsLeftToTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		order, cluster := three(t, time.Second)
		cluster["a"]++
		time.Sleep(1500 * time.Millisecond)
		cluster["a"]--
		for i, b := range order {
			b = balance.Combine(b)
			b.(metafora.Forgetter).Forget(task)
			until, ok := b.CanClaim(metafora.NewTask(task))
			if want := time.Now().Add(time.Duration(i) * time.Second); ok != (i == 0) || !ok && !until.Equal(want) {
				t.Errorf("node %d: until %v, %v; want %v", i, until, ok, want)
			}
		}
	})
}

// A main loop that is always late must get there all the same.
func TestNodeThatIsAlwaysLateClaimsInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		order, _ := three(t, time.Second)
		last := order[2]
		for range 10 {
			until, ok := last.CanClaim(metafora.NewTask(task))
			if ok {
				return
			}
			time.Sleep(time.Until(until) + 5*time.Second)
		}
		t.Error("it never does")
	})
}

func TestNodeThatIsNotListedGoesLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := balance.NewRendezvous(fixed{"a": 0, "b": 0}, balance.WithDelay(time.Second))
		b.Init(onNode{name: "new"})
		until, ok := b.CanClaim(metafora.NewTask(task))
		if want := time.Now().Add(2 * time.Second); ok || !until.Equal(want) {
			t.Errorf("until %v, %v; want %v", until, ok, want)
		}
		if ids := b.Balance(); ids != nil {
			t.Errorf("releases %v", ids)
		}
	})
}

func TestNodeThatIsAloneClaimsAll(t *testing.T) {
	for name, cluster := range map[string]fixed{"listed": {"a": 0}, "not listed": {}} {
		for kind, b := range map[string]metafora.Balancer{
			"rendezvous": balance.NewRendezvous(cluster),
			"fair":       balance.NewFair(cluster),
		} {
			b.Init(onNode{name: "a", tasks: make([]string, 1000)})
			if _, ok := b.CanClaim(metafora.NewTask(task)); !ok {
				t.Errorf("%s, %s: does not claim", kind, name)
			}
			if ids := b.Balance(); ids != nil {
				t.Errorf("%s, %s: releases %v", kind, name, ids)
			}
		}
	}
}

// Zero and negative values, which a zero configuration may hold, mean the default.
func TestSenselessOptionsMeanTheDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := fixed{"a": 0, "b": 0, "c": 0}
		b := balance.NewRendezvous(cluster, balance.WithDelay(-1), balance.WithLoadFactor(0))
		b.Init(onNode{name: "c"})
		until, ok := b.CanClaim(metafora.NewTask(task))
		if want := time.Now().Add(500 * time.Millisecond); ok || !until.Equal(want) {
			t.Errorf("until %v, %v; want %v", until, ok, want)
		}
	})
}
