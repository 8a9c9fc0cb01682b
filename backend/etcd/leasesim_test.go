package etcd_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/simtest/simetcd"
	"github.com/metafora-go/metafora/statemachine"
)

// tenSeconds is a lease of ten seconds that is given up after eight.
var tenSeconds = etcd.Options{TTL: 10 * time.Second, Margin: 2 * time.Second}

// node's record at the broker, "" without one.
func (s *sim) record(name string) string {
	if kv := s.Get("/metafora/nodes/" + name); kv != nil {
		return string(kv.Value)
	}
	return ""
}

func TestHandlersAreToldBeforeTheLeaseCanExpire(t *testing.T) {
	for name, fate := range map[string]simetcd.Gate{
		"refused":    failed,
		"silent":     silent,
		"lost reply": lost, // the broker renews, but the node cannot know
	} {
		t.Run(name, func(t *testing.T) {
			inSim(t, func(t *testing.T, s *sim) {
				start := time.Now()
				a := s.node("a", tenSeconds)
				s.submit("t")
				claim := a.claimed("t")[0]
				a.gate.set(kinds(fate, simetcd.KindKeepAlive))
				if got := <-a.lost; got != claim {
					t.Errorf("lost %v, want %v", got, claim)
				}
				if after := time.Since(start); after != 8*time.Second {
					t.Errorf("told after %v, want TTL less the margin, 8 s", after)
				}
				if s.owner("t") != claim.Fence {
					t.Error("the broker has given the task up already")
				}
			})
		})
	}
}

// The lease lasts from when the renewal was sent, whenever it was answered.
func TestSlowRenewalCountsFromWhenItWasSent(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a := s.node("a", etcd.Options{TTL: 12 * time.Second, Margin: 3 * time.Second})
		s.submit("t")
		claim := a.claimed("t")[0]
		var sent time.Time
		a.gate.set(kinds(func(ctx context.Context, c *simetcd.Call) error {
			if !sent.IsZero() {
				return silent(ctx, c)
			}
			sent = time.Now()
			c.Apply()
			time.Sleep(2 * time.Second)
			return nil
		}, simetcd.KindKeepAlive))
		<-a.lost
		if after := time.Since(sent); after != 9*time.Second {
			t.Errorf("told %v after the renewal was sent, want 9 s", after)
		}
		if s.owner("t") != claim.Fence {
			t.Error("the broker has given the task up already")
		}
	})
}

// The process stood still while the answer came in. Somebody may have seen the
// claims as lost by then: they stay lost.
func TestRenewalAnsweredTooLateDoesNotCount(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a := s.node("a", tenSeconds)
		s.submit("t")
		claim := a.claimed("t")[0]
		a.gate.set(kinds(func(_ context.Context, c *simetcd.Call) error {
			c.Apply()
			time.Sleep(6 * time.Second)
			return nil
		}, simetcd.KindKeepAlive))
		after(8*time.Second + 500*time.Millisecond)
		err := a.StateStore().Store(t.Context(), claim, statemachine.State{Code: statemachine.Runnable}, 0)
		if !errors.Is(err, metafora.ErrNotOwner) {
			t.Errorf("state stored after the deadline: %v", err)
		}
		after(time.Second)
		if got := a.losses(); len(got) != 1 || got[0] != claim {
			t.Errorf("lost %v, want %v", got, claim)
		}
	})
}

func TestLeaseThatIsGoneIsReplaced(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a := s.node("a", tenSeconds)
		s.submit("t")
		old := a.claimed("t")[0]
		a.conn.Disconnect() // or the watch would tell at once
		s.Expire(s.lease("a"))
		a.conn.Reconnect()
		after(4 * time.Second)
		if got := a.losses(); len(got) != 1 || got[0] != old {
			t.Errorf("lost %v, want %v", got, old)
		}
		again := a.claimed("t")[0]
		if again.Fence <= old.Fence {
			t.Errorf("fence %d after %d", again.Fence, old.Fence)
		}
		if err := a.Done(t.Context(), old); !errors.Is(err, metafora.ErrNotOwner) {
			t.Errorf("Done of the old claim: %v", err)
		}
		if s.owner("t") != again.Fence {
			t.Error("the old claim's Done has hurt the new one")
		}
	})
}

// Etcd answers the grant of a new lease, takes in the registration, and then no
// reply arrives until that lease is given up too. The node's name is not taken:
// it has it itself.
func TestRegistrationThatWasGivenUpDoesNotTakeTheName(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a := s.node("a", tenSeconds)
		a.gate.set(func(ctx context.Context, c *simetcd.Call) error {
			switch c.Kind() {
			case simetcd.KindTxn:
				return lost(ctx, c)
			case simetcd.KindRevoke:
				return simetcd.ErrUnavailable
			}
			return nil
		})
		s.Expire(s.lease("a"))
		after(8*time.Second + 500*time.Millisecond) // the second lease is given up
		a.gate.set(nil)
		after(time.Second)
		s.submit("t")
		if len(a.claimed("t")) != 1 {
			t.Error("no claim after the node has rejoined")
		}
	})
}

func TestNameTakenWhileAwayEndsTheNode(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a := s.newNode("a", tenSeconds)
		if err := a.Init(t.Context(), a.lost); err != nil {
			t.Fatal(err)
		}
		watched := make(chan error, 1)
		go func() { watched <- a.Watch(t.Context(), a.tasks) }()
		a.conn.Disconnect()
		after(11 * time.Second)
		s.node("a", tenSeconds)
		a.conn.Reconnect()
		if err := <-watched; !errors.Is(err, metafora.ErrNodeExists) || !strings.Contains(err.Error(), `"a"`) {
			t.Errorf("Watch returned %v, want ErrNodeExists that names the node", err)
		}
		if _, err := a.Claim(t.Context(), metafora.NewTask("t")); !errors.Is(err, metafora.ErrNodeExists) {
			t.Errorf("Claim returned %v", err)
		}
	})
}

// Only the node's key was deleted, its lease lives on.
func TestNodeWhoseKeyWasDeletedRegistersAgain(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a := s.node("a", tenSeconds)
		s.submit("t")
		a.claimed("t")
		if _, err := s.Client("operator", nil).Delete(t.Context(), "/metafora/nodes/a"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s.record("a") == "" || len(a.Nodes()) != 1 {
			t.Errorf("record %q, nodes %v", s.record("a"), a.Nodes())
		}
		if got := a.losses(); len(got) > 0 {
			t.Errorf("lost %v", got)
		}
	})
}

// The node rejoins, and SetAccepting comes while its registration is under way.
func TestSetAcceptingDuringRejoinIsNotForgotten(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a := s.node("a", tenSeconds)
		calls := make(chan heldCall, 10)
		a.gate.set(kinds(hold(calls), simetcd.KindTxn))
		s.Expire(s.lease("a"))
		registration := <-calls
		if err := a.SetAccepting(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		a.gate.set(nil)
		registration.fate <- nil
		synctest.Wait()
		if got := s.record("a"); !strings.Contains(got, `"accepting":false`) {
			t.Errorf("record %s", got)
		}
	})
}

// A write that was given up takes effect after the next one.
func TestLateSetAcceptingDoesNotUndoALaterOne(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a := s.node("a", tenSeconds)
		if err := a.SetAccepting(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		calls := make(chan heldCall, 10)
		a.gate.set(kinds(hold(calls), simetcd.KindTxn))
		ctx, cancel := context.WithCancel(t.Context())
		given := make(chan error, 1)
		go func() { given <- a.SetAccepting(ctx, true) }()
		stale := <-calls
		cancel()
		if err := <-given; !errors.Is(err, metafora.ErrUncertain) {
			t.Errorf("SetAccepting returned %v", err)
		}
		a.gate.set(nil)
		if err := a.SetAccepting(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		stale.Apply()
		synctest.Wait()
		if got := s.record("a"); !strings.Contains(got, `"accepting":false`) {
			t.Errorf("record %s", got)
		}
	})
}

// Etcd is so slow that listing takes longer than the lease lasts.
func TestLeaseIsKeptWhileInitLists(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a := s.newNode("a", tenSeconds)
		a.gate.set(kinds(func(context.Context, *simetcd.Call) error {
			time.Sleep(4 * time.Second)
			return nil
		}, simetcd.KindGet))
		if err := a.Init(t.Context(), a.lost); err != nil {
			t.Fatal(err)
		}
		if got := a.Stats(); got.LeasesLost > 0 || got.Renewals < 3 {
			t.Errorf("%d leases lost, %d renewals", got.LeasesLost, got.Renewals)
		}
	})
}

func TestCloseDuringInitLeavesNothing(t *testing.T) {
	for _, kind := range []simetcd.Kind{simetcd.KindGrant, simetcd.KindTxn, simetcd.KindGet} {
		t.Run(string(kind), func(t *testing.T) {
			inSim(t, func(t *testing.T, s *sim) {
				a := s.newNode("a", tenSeconds)
				calls := make(chan heldCall, 10)
				a.gate.set(func(ctx context.Context, c *simetcd.Call) error {
					if c.Kind() == simetcd.KindRevoke {
						time.Sleep(time.Second) // for Close to wait for
					}
					return kinds(hold(calls), kind)(ctx, c)
				})
				joined := make(chan error, 1)
				go func() { joined <- a.Init(t.Context(), a.lost) }()
				<-calls
				if err := a.Close(); err != nil {
					t.Error(err)
				}
				if s.record("a") != "" {
					t.Error("Close has not waited for Init: the node is still registered")
				}
				if err := <-joined; !errors.Is(err, metafora.ErrClosed) {
					t.Errorf("Init returned %v", err)
				}
			})
		})
	}
}

func TestFailedInitLeavesNothing(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a := s.newNode("a", tenSeconds)
		a.gate.set(kinds(failed, simetcd.KindGet))
		if err := a.Init(t.Context(), a.lost); err == nil || !strings.Contains(err.Error(), `"a"`) {
			t.Errorf("Init returned %v", err)
		}
		after(time.Minute)
		if s.record("a") != "" {
			t.Error("the node is still registered, or again")
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
}

// lease returns the lease of a node.
func (s *sim) lease(node string) (id clientv3.LeaseID) {
	s.t.Helper()
	kv := s.Get("/metafora/nodes/" + node)
	if kv == nil {
		s.t.Fatalf("no node %s", node)
	}
	return clientv3.LeaseID(kv.Lease)
}

func TestNodeJoinsAsSoonAsItsNameIsFree(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a := s.node("a", tenSeconds)
		next := s.newNode("a", etcd.Options{NameWait: time.Minute})
		calls := make(map[simetcd.Kind]int)
		next.gate.set(func(_ context.Context, c *simetcd.Call) error {
			calls[c.Kind()]++
			return nil
		})
		joined := make(chan error, 1)
		go func() { joined <- next.Init(t.Context(), next.lost) }()
		after(20 * time.Second)
		if calls[simetcd.KindTxn] != 1 || calls[simetcd.KindGrant] != 1 || calls[simetcd.KindGet] != 0 {
			t.Errorf("while it waits it calls %v", calls)
		}
		next.conn.Disconnect()
		next.conn.Reconnect() // what it waits by breaks
		after(20 * time.Second)
		a.conn.Disconnect()
		s.Expire(s.lease("a"))
		synctest.Wait()
		select {
		case err := <-joined:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("the name is free, and it waits")
		}
		next.watch(t.Context())
	})
}

func TestNodeWaitsForItsNameNoLongerThanItShould(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		s.node("a", tenSeconds)
		next := s.newNode("a", etcd.Options{NameWait: time.Minute})
		began := time.Now()
		if err := next.Init(t.Context(), next.lost); !errors.Is(err, metafora.ErrNodeExists) {
			t.Errorf("Init returned %v, want %v", err, metafora.ErrNodeExists)
		}
		if waited := time.Since(began); waited != time.Minute {
			t.Errorf("it has waited for %v", waited)
		}
	})
}
