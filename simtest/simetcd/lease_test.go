package simetcd_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora/simtest/simetcd"
)

func grant(t *testing.T, c clientv3.Lease, ttl int64) clientv3.LeaseID {
	t.Helper()
	resp, err := c.Grant(t.Context(), ttl)
	if err != nil {
		t.Fatal(err)
	}
	return resp.ID
}

func TestLeaseExpiresByItselfInOneRevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := simetcd.NewServer()
		defer server.Close()
		node := server.Client("n1", nil)
		id := grant(t, node, 10)
		for _, key := range []string{"c", "a", "b"} {
			if _, err := node.Put(t.Context(), key, "", clientv3.WithLease(id)); err != nil {
				t.Fatal(err)
			}
		}
		ch := node.Watch(t.Context(), "", clientv3.WithPrefix())
		time.Sleep(6 * time.Second)
		if _, err := node.KeepAliveOnce(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10*time.Second - 1)
		expect(t, ch, "")
		time.Sleep(time.Nanosecond)
		expect(t, ch, "-a -b -c @5")
		if _, err := node.KeepAliveOnce(t.Context(), id); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			t.Errorf("renewal of a lease that is gone: %v", err)
		}
	})
}

func TestLeaseIsOverdueUntilItIsExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node := manual(t)
		short, long := grant(t, node, 1), grant(t, node, 60) // the short one is raised to 2 s
		if _, err := node.Put(t.Context(), "a", "", clientv3.WithLease(short)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2*time.Second - 1)
		if ids := server.Overdue(); ids != nil {
			t.Errorf("overdue %v", ids)
		}
		time.Sleep(time.Nanosecond)
		if ids := server.Overdue(); !slices.Equal(ids, []clientv3.LeaseID{short}) {
			t.Errorf("overdue %v", ids)
		}
		if l, ok := server.Lease(short); !ok || l.TTL != 2*time.Second || !l.Deadline.Equal(time.Now()) || !slices.Equal(l.Keys, []string{"a"}) {
			t.Errorf("lease %+v", l)
		}
		if !server.Expire(short) || server.Expire(short) || server.Get("a") != nil {
			t.Error("the lease did not end once, with its key")
		}
		if _, ok := server.Lease(short); ok || len(server.Leases()) != 1 || server.Leases()[0].ID != long {
			t.Errorf("leases %+v", server.Leases())
		}
	})
}

func TestRenewalOfAnOverdueLeaseComesTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node := manual(t)
		id := grant(t, node, 2)
		if _, err := node.Put(t.Context(), "a", "", clientv3.WithLease(id)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if _, err := node.KeepAliveOnce(t.Context(), id); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			t.Errorf("renewal: %v", err)
		}
		if server.Get("a") != nil {
			t.Error("the key of the lease is still there")
		}
	})
}

func TestKeepAliveOnceTriesAgainWhileUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := simetcd.NewServer()
		defer server.Close()
		fail := true
		node := server.Client("n1", func(_ context.Context, c *simetcd.Call) error {
			if fail && c.Kind() == simetcd.KindKeepAlive {
				return simetcd.ErrUnavailable
			}
			return nil
		})
		id := grant(t, node, 10)
		ctx, cancel := context.WithTimeout(t.Context(), 1100*time.Millisecond) // not at the time of an attempt
		defer cancel()
		if _, err := node.KeepAliveOnce(ctx, id); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the deadline", err)
		}
		fail = false
		if resp, err := node.KeepAliveOnce(t.Context(), id); err != nil || resp.TTL != 10 || resp.ID != id {
			t.Errorf("response %+v, error %v", resp, err)
		}
	})
}

func TestKeepAliveKeepsALeaseAliveUntilItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := simetcd.NewServer()
		defer server.Close()
		node := server.Client("n1", nil)
		id := grant(t, node, 9)
		ctx, cancel := context.WithCancel(t.Context())
		ch, err := node.KeepAlive(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if resp := <-ch; resp == nil || resp.TTL != 9 {
				t.Fatalf("response %+v", resp)
			}
		}
		cancel()
		if _, open := <-ch; open {
			t.Error("the channel is open")
		}
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if len(server.Leases()) != 0 {
			t.Error("the lease lives on")
		}
	})
}

func TestKeepAliveChannelCloses(t *testing.T) {
	cases := map[string]func(*simetcd.Server, *simetcd.Client, clientv3.LeaseID){
		"when the lease is revoked":    func(s *simetcd.Server, _ *simetcd.Client, id clientv3.LeaseID) { s.Expire(id) },
		"when nothing is heard":        func(_ *simetcd.Server, c *simetcd.Client, _ clientv3.LeaseID) { c.Disconnect() },
		"when the client is closed":    func(_ *simetcd.Server, c *simetcd.Client, _ clientv3.LeaseID) { _ = c.Close() },
		"when the server is shut down": func(s *simetcd.Server, _ *simetcd.Client, _ clientv3.LeaseID) { s.Close() },
	}
	for name, end := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := simetcd.NewServer()
				defer server.Close()
				node := server.Client("n1", nil)
				id := grant(t, node, 9)
				ch, err := node.KeepAlive(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				<-ch
				begin := time.Now()
				end(server, node, id)
				for range ch { // ends when the channel closes
				}
				if since := time.Since(begin); since > 9*time.Second {
					t.Errorf("closed after %v", since)
				}
			})
		})
	}
}

func TestKeepAliveOfAClosedClientHalts(t *testing.T) {
	server := simetcd.NewServer()
	server.Close()
	server.Close()
	ch, err := server.Client("n1", nil).KeepAlive(t.Context(), 1)
	var halted clientv3.ErrKeepAliveHalted
	if !errors.As(err, &halted) {
		t.Errorf("error %v", err)
	}
	if _, open := <-ch; open {
		t.Error("the channel is open")
	}
}
