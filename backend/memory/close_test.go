package memory_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
)

func TestCloseLeavesClaimsToTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		a, other := join(t, b, "a"), join(t, b, "other")
		a.claim("t")
		renewed := time.Now()
		wantNoErr(t, a.Close())
		if nodes := other.Nodes(); len(nodes) != 1 {
			t.Fatalf("live nodes: %v", nodes)
		}
		again := join(t, b, "a")
		if again.NodeTaskCount("a") != 1 {
			t.Fatal("the claim of the closed node is gone")
		}
		time.Sleep(time.Until(renewed.Add(ttl - 1)))
		if other.Claimable("t") {
			t.Fatal("the task is claimable before the lease has ended")
		}
		time.Sleep(time.Nanosecond)
		again.claim("t")
		a.wantLost(nil)
		time.Sleep(2 * ttl)
		again.wantLost(nil)
		if nodes := other.Nodes(); len(nodes) != 2 {
			t.Fatalf("the end of the old lease changed the live nodes: %v", nodes)
		}
	})
}

func TestCloseOfAnUnreachableNodeIsACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		a := join(t, b, "a")
		b.Partition("a")
		wantNoErr(t, a.Close())
		wantErr(t, b.Coordinator("a").Init(t.Context(), a), metafora.ErrNodeExists)
		time.Sleep(ttl)
		join(t, b, "a")
	})
}

// slowContext blocks in its first Lost until it is told to go on.
type slowContext struct {
	enter, leave chan struct{}
	lost         []string
}

func newSlowContext() *slowContext {
	return &slowContext{enter: make(chan struct{}), leave: make(chan struct{})}
}

func (s *slowContext) Lost(c metafora.Claim, _ error) {
	s.lost = append(s.lost, c.TaskID)
	if len(s.lost) == 1 {
		s.enter <- struct{}{}
		<-s.leave
	}
}

func (s *slowContext) ClusterChanged() {}

func TestCloseWaitsForTheCallUnderWayAndDropsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t1", "t2")
		s := newSlowContext()
		c := b.Coordinator("a")
		wantNoErr(t, c.Init(t.Context(), s))
		for _, id := range []string{"t1", "t2"} {
			_, err := c.Claim(t.Context(), metafora.NewTask(id))
			wantNoErr(t, err)
		}
		go b.ExpireLease("a")
		<-s.enter
		closed := make(chan error, 2)
		for range 2 {
			go func() { closed <- c.Close() }()
		}
		synctest.Wait()
		if len(closed) > 0 {
			t.Fatal("Close returned during a call to the CoordinatorContext")
		}
		close(s.leave)
		wantNoErr(t, <-closed)
		wantNoErr(t, <-closed)
		synctest.Wait()
		if len(s.lost) != 1 {
			t.Fatalf("Lost was called for %q", s.lost)
		}
	})
}

func TestCallsToTheContextAreMadeOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t1", "t2", "t3")
		s := newSlowContext()
		c := b.Coordinator("a")
		wantNoErr(t, c.Init(t.Context(), s))
		for _, id := range []string{"t1", "t2", "t3"} {
			_, err := c.Claim(t.Context(), metafora.NewTask(id))
			wantNoErr(t, err)
		}
		go b.DeleteOwner("t2")
		<-s.enter
		b.DeleteOwner("t1")
		b.DeleteOwner("t3")
		if len(s.lost) != 1 {
			t.Fatalf("Lost was called for %q at the same time", s.lost)
		}
		close(s.leave)
		synctest.Wait()
		if !slices.Equal(s.lost, []string{"t2", "t1", "t3"}) {
			t.Fatalf("Lost was called for %q", s.lost)
		}
		wantNoErr(t, c.Close())
	})
}

// busyContext calls the Coordinator back.
type busyContext struct {
	*node
	b *memory.Broker
}

func (bc busyContext) Lost(c metafora.Claim, cause error) {
	bc.node.Lost(c, cause)
	bc.Release(bc.t.Context(), c)
	bc.b.DeleteOwner("t2")
	bc.Nodes()
	bc.LeaseDeadline()
}

func TestContextMayCallTheCoordinator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t1", "t2")
		n := &node{Coordinator: b.Coordinator("a"), t: t}
		wantNoErr(t, n.Init(t.Context(), busyContext{n, b}))
		defer n.Close()
		claims := n.claim("t1", "t2")
		b.DeleteOwner("t1")
		n.wantLost(metafora.ErrNotOwner, claims...)
	})
}

func TestCallsOfANodeThatHasNotJoinedFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		c := b.Coordinator("a")
		ctx := t.Context()
		if _, err := c.Claim(ctx, metafora.NewTask("t")); err == nil {
			t.Error("Claim succeeded")
		}
		if _, err := c.Claim(ctx, nil); err == nil {
			t.Error("Claim of nil succeeded")
		}
		if _, err := c.Command(ctx); err == nil {
			t.Error("Command succeeded")
		}
		if err := c.Watch(ctx, nil); err == nil {
			t.Error("Watch succeeded")
		}
		if err := c.SetAccepting(ctx, true); err == nil {
			t.Error("SetAccepting succeeded")
		}
		if err := c.Init(ctx, nil); err == nil {
			t.Error("Init without a context succeeded")
		}
		if err := c.Init(ctx, &node{}); err == nil {
			t.Error("a second Init succeeded")
		}
		wantNoErr(t, c.Close())
	})
}
