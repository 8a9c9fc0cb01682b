package memory_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
)

const (
	ttl    = 10 * time.Second
	margin = 2 * time.Second
)

func TestLeaseIsRenewedForAsLongAsTheNodeLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		a := join(t, b, "a")
		a.claim("t")
		time.Sleep(time.Hour)
		if got := owner(t, b, "t"); got != "a" {
			t.Fatalf("after an hour the owner is %q", got)
		}
		if left := time.Until(a.LeaseDeadline()); left <= 0 || left > ttl-margin {
			t.Fatalf("the lease is safe for another %v", left)
		}
		a.wantLost(nil)
	})
}

func TestPartitionedNodeLosesItsClaimsBeforeTheBrokerGivesThemAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		ids := numbered(5)
		submit(t, b, ids...)
		a, other := join(t, b, "a"), join(t, b, "other")
		claims := a.claim(ids...)
		other.watch()
		renewed := time.Now()
		b.Partition("a")

		time.Sleep(ttl - margin - 1)
		a.wantLost(nil)
		time.Sleep(time.Nanosecond)
		lostAt := a.wantLost(metafora.ErrLeaseLost, claims...)
		if want := renewed.Add(ttl - margin); !lostAt.Equal(want) || !a.LeaseDeadline().Equal(want) {
			t.Fatalf("lost at %v, deadline %v, want %v", lostAt, a.LeaseDeadline(), want)
		}
		_, err := a.Claim(t.Context(), metafora.NewTask(ids[0]))
		wantErr(t, err, metafora.ErrLeaseLost)
		other.wantAnnounced()

		time.Sleep(margin)
		other.wantAnnounced(ids...)
		if nodes := other.Nodes(); len(nodes) != 1 || nodes[0].Name != "other" {
			t.Fatalf("live nodes: %v", nodes)
		}
		b.Heal("a")
		a.wantLost(nil)
		a.claim(ids...)
		if got := other.NodeTaskCount("a"); got != len(ids) {
			t.Fatalf("a owns %d tasks", got)
		}
	})
}

func TestHealWithinTheDeadlineLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		a := join(t, b, "a")
		claims := a.claim("t")
		b.Partition("a")
		time.Sleep(ttl - margin - 1)
		b.Heal("a")
		time.Sleep(ttl)
		a.wantLost(nil)
		if err := a.Done(t.Context(), claims[0]); err != nil {
			t.Fatal(err)
		}
	})
}

// Between its deadline and the end of its lease a node may come back: it gives
// up what the broker has kept for it, and starts anew.
func TestHealWithinTheMarginJoinsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		a := join(t, b, "a")
		a.watch()
		a.wantAnnounced("t")
		claims := a.claim("t")
		b.Partition("a")
		time.Sleep(ttl - margin/2)
		a.wantLost(metafora.ErrLeaseLost, claims...)
		b.Heal("a")
		a.wantAnnounced("t")
		wantErr(t, a.Done(t.Context(), claims[0]), metafora.ErrNotOwner)
		again := a.claim("t")
		if again[0].Fence <= claims[0].Fence {
			t.Fatalf("fence %d after %d", again[0].Fence, claims[0].Fence)
		}
		time.Sleep(2 * ttl)
		a.wantLost(nil)
	})
}

// A process that was cut off may find its name taken by its successor.
func TestNodeWhoseNameIsTakenWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		old := join(t, b, "a")
		b.Partition("a")
		time.Sleep(ttl - 1)
		wantErr(t, b.Coordinator("a").Init(t.Context(), old), metafora.ErrNodeExists)
		time.Sleep(time.Nanosecond)
		successor := join(t, b, "a")
		b.Heal("a")

		_, err := old.Claim(t.Context(), metafora.NewTask("t"))
		wantErr(t, err, metafora.ErrLeaseLost)
		claims := successor.claim("t")
		time.Sleep(2 * ttl)
		successor.wantLost(nil)
		if err := successor.Release(t.Context(), claims[0]); err != nil {
			t.Fatal(err)
		}
		successor.Close()
		old.claim("t")
	})
}

func TestRevokedLeaseIsReplacedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		ids := numbered(3)
		submit(t, b, ids...)
		a, other := join(t, b, "a"), join(t, b, "other")
		other.watch()
		other.wantAnnounced(ids...)
		claims := a.claim(ids...)
		if !b.ExpireLease("a") || b.ExpireLease("nobody") {
			t.Fatal("ExpireLease did not tell live nodes from others")
		}
		a.wantLost(metafora.ErrLeaseLost, claims...)
		other.wantAnnounced(ids...)
		a.claim(ids...)
		if got := len(other.Nodes()); got != 2 {
			t.Fatalf("%d live nodes, want 2", got)
		}
	})
}

func TestLeaseRevokedDuringPartitionIsNoticedAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		a := join(t, b, "a")
		claims := a.claim("t")
		b.Partition("a")
		b.ExpireLease("a")
		a.wantLost(nil)
		b.Heal("a")
		a.wantLost(metafora.ErrLeaseLost, claims...)
		a.claim("t")
	})
}

func TestPausedNodeLearnsOfItsLossWhenItWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		a, other := join(t, b, "a"), join(t, b, "other")
		claims := a.claim("t")
		b.Pause("a")
		done := make(chan error, 1)
		go func() { done <- a.Done(t.Context(), claims[0]) }()
		time.Sleep(ttl)
		a.wantLost(nil)
		current := other.claim("t")
		if len(done) > 0 {
			t.Fatal("a paused node's call returned")
		}
		b.Heal("a")
		a.wantLost(metafora.ErrLeaseLost, claims...)
		wantErr(t, <-done, metafora.ErrNotOwner)
		if err := other.Done(t.Context(), current[0]); err != nil {
			t.Fatal(err)
		}
	})
}

func TestPausedNodeGivesUpWhatIsPastItsDeadlineWhenItWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		a := join(t, b, "a")
		claims := a.claim("t")
		b.Pause("a")
		time.Sleep(ttl - margin/2) // the broker still has the claim
		b.Heal("a")
		a.wantLost(metafora.ErrLeaseLost, claims...)
		a.claim("t")
	})
}

// Leases that end at the same instant end in the order in which they began.
func TestLeasesThatEndTogetherEndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		ids := numbered(50)
		submit(t, b, ids...)
		watcher := join(t, b, "watcher")
		for _, id := range ids {
			n := join(t, b, "node of "+id)
			n.claim(id)
			defer b.Kill(n.Name())
		}
		watcher.watch()
		for _, id := range ids {
			b.Kill("node of " + id)
		}
		time.Sleep(ttl)
		watcher.wantAnnounced(ids...)
	})
}
