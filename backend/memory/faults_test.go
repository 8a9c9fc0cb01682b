package memory_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/statemachine"
)

func TestFaultsTellWhetherTheyHitAnything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "waiting")
		for what, hit := range map[string]bool{
			"Partition":   b.Partition("nobody"),
			"Pause":       b.Pause("nobody"),
			"Kill":        b.Kill("nobody"),
			"ExpireLease": b.ExpireLease("nobody"),
			"DeleteOwner": b.DeleteOwner("waiting") || b.DeleteOwner("nothing"),
		} {
			if hit {
				t.Errorf("%s hit a node or a task that does not exist", what)
			}
		}
		b.Heal("nobody")
	})
}

func TestPartitionedNodeReachesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "held", "free")
		a := join(t, b, "a")
		claim := a.claim("held")[0]
		b.Partition("a")
		ctx := t.Context()
		_, claimErr := a.Claim(ctx, metafora.NewTask("free"))
		_, loadErr := a.StateStore().Load(ctx, claim)
		for what, err := range map[string]error{
			"Claim":        claimErr,
			"Release":      a.Release(ctx, claim),
			"Done":         a.Done(ctx, claim),
			"SetAccepting": a.SetAccepting(ctx, false),
			"Load":         loadErr,
			"Store":        a.StateStore().Store(ctx, claim, statemachine.State{Code: statemachine.Runnable, Since: time.Now()}, 0),
			"Handled":      a.CommandListener().Handled(ctx, claim, 1),
		} {
			if !errors.Is(err, memory.ErrUnreachable) {
				t.Errorf("%s: error %v, want one that wraps %v", what, err, memory.ErrUnreachable)
			}
		}
		b.Heal("a")
		if got := owner(t, b, "held"); got != "a" {
			t.Fatalf("the owner is %q", got)
		}
		wantNoErr(t, a.Done(ctx, claim))
	})
}

func TestViewOfAPartitionedNodeStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t1", "t2")
		a, other := join(t, b, "a"), join(t, b, "other")
		other.claim("t1")
		b.Partition("a")
		other.claim("t2")
		join(t, b, "third")
		b.Partition("a") // once more changes nothing
		a.mu.Lock()
		changes := a.changes
		a.mu.Unlock()
		if nodes, tasks := len(a.Nodes()), a.NodeTaskCount("other"); nodes != 2 || tasks != 1 {
			t.Fatalf("a sees %d nodes and %d tasks of other, want what it knew: 2 and 1", nodes, tasks)
		}
		if a.Claimable("t2") {
			t.Fatal("a task that is owned is claimable")
		}
		b.Heal("a")
		if nodes, tasks := len(a.Nodes()), a.NodeTaskCount("other"); nodes != 3 || tasks != 2 {
			t.Fatalf("a sees %d nodes and %d tasks of other, want 3 and 2", nodes, tasks)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.changes != changes+1 {
			t.Fatalf("ClusterChanged was called %d times after Heal, want once", a.changes-changes)
		}
	})
}

func TestClaimsEndedDuringAPartitionAreLostAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "kept", "replaced", "stolen", "deleted")
		a, other := join(t, b, "a"), join(t, b, "other")
		claims := a.claim("kept", "replaced", "stolen", "deleted")
		b.Partition("a")
		wantNoErr(t, b.Client().DeleteTask(t.Context(), "deleted"))
		b.DeleteOwner("stolen")
		other.claim("stolen")
		wantNoErr(t, b.Client().DeleteTask(t.Context(), "replaced"))
		submit(t, b, "replaced")
		a.wantLost(nil)
		b.Heal("a")
		a.wantLost(metafora.ErrNotOwner, claims[1:]...)
		wantNoErr(t, a.Done(t.Context(), claims[0]))
	})
}

func TestKilledNodeIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		a, other := join(t, b, "a"), join(t, b, "other")
		watched, commanded := make(chan error), make(chan error)
		go func() { watched <- a.Watch(t.Context(), make(chan metafora.Task)) }()
		go func() {
			_, err := a.Command(t.Context())
			commanded <- err
		}()
		claim := a.claim("t")[0]
		commands, stop := a.CommandListener().Listen(claim)
		defer stop()
		synctest.Wait()
		a.mu.Lock()
		changes := a.changes
		a.mu.Unlock()

		b.Kill("a")
		send(t, b, "t", statemachine.Pause())
		wantNothing(t, commands)
		wantErr(t, <-watched, memory.ErrKilled)
		wantErr(t, <-commanded, memory.ErrKilled)
		wantErr(t, a.Done(t.Context(), claim), memory.ErrKilled)
		wantErr(t, b.Coordinator("a").Init(t.Context(), a), metafora.ErrNodeExists)
		time.Sleep(ttl - 1)
		if other.Claimable("t") {
			t.Fatal("the task of a dead node is claimable before its lease has ended")
		}
		time.Sleep(time.Nanosecond)
		other.claim("t")
		a.wantLost(nil)
		a.mu.Lock()
		if a.changes != changes {
			t.Error("ClusterChanged was called for a dead node")
		}
		a.mu.Unlock()
		wantNoErr(t, a.Close())
		wantErr(t, a.Done(t.Context(), claim), metafora.ErrClosed)
		join(t, b, "a")
	})
}

func TestInitNeedsTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		cut, stopped := b.Coordinator("cut"), b.Coordinator("stopped")
		b.Partition("cut")
		b.Pause("stopped")
		wantErr(t, cut.Init(t.Context(), &node{}), memory.ErrUnreachable)
		joined := make(chan error, 1)
		go func() { joined <- stopped.Init(t.Context(), &node{}) }()
		synctest.Wait()
		if len(joined) > 0 {
			t.Fatal("a paused node's Init returned")
		}
		b.Heal("stopped")
		wantNoErr(t, <-joined)
		wantNoErr(t, stopped.Close())
		wantNoErr(t, cut.Close())
	})
}
