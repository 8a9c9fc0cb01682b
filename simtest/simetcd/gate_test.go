package simetcd_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/metafora-go/metafora/simtest/simetcd"
)

// staged returns a node whose calls are held.
func staged(t *testing.T, opts ...simetcd.Option) (*simetcd.Server, *simetcd.Client, *stage) {
	t.Helper()
	server, s := simetcd.NewServer(opts...), &stage{}
	t.Cleanup(server.Close)
	return server, server.Client("n1", s.gate), s
}

// only returns the one call that is held once all goroutines wait.
func only(t *testing.T, s *stage) *held {
	t.Helper()
	synctest.Wait()
	calls := s.waiting()
	if len(calls) != 1 {
		t.Fatalf("%d calls wait, want 1", len(calls))
	}
	return calls[0]
}

func put(ctx context.Context, c clientv3.KV, key, value string) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := c.Put(ctx, key, value)
		done <- err
	}()
	return done
}

func TestGateLetsACallThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node, s := staged(t)
		done := put(t.Context(), node, "a", "1")
		call := only(t, s)
		if server.Get("a") != nil || call.Applied() || call.Outcome() != "not applied" {
			t.Error("a call that is held took effect")
		}
		s.release(call, nil)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if server.Get("a") == nil || call.Outcome() != "@2" {
			t.Errorf("key %v, outcome %q", server.Get("a"), call.Outcome())
		}
	})
}

func TestGateFailsACallBeforeItsEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node, s := staged(t)
		done := put(t.Context(), node, "a", "1")
		s.release(only(t, s), simetcd.ErrUnavailable)
		if err := <-done; status.Code(err) != codes.Unavailable {
			t.Errorf("error %v, want unavailable", err)
		}
		if server.Get("a") != nil {
			t.Error("a call that failed took effect")
		}
	})
}

func TestGateLosesAReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node, s := staged(t)
		done := put(t.Context(), node, "a", "1")
		call := only(t, s)
		call.Apply()
		call.Apply() // changes nothing
		s.release(call, simetcd.ErrUnavailable)
		if err := <-done; status.Code(err) != codes.Unavailable {
			t.Errorf("error %v, want unavailable", err)
		}
		if kv := server.Get("a"); kv.GetVersion() != 1 {
			t.Errorf("key is %v, want version 1", kv)
		}
	})
}

func TestLateCallTakesEffectAfterItsCallerGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node, s := staged(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		done := put(ctx, node, "a", "1")
		call := only(t, s)
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the deadline", err)
		}
		call.Apply()
		if server.Get("a") == nil {
			t.Error("the late call had no effect")
		}
	})
}

func TestCloseFailsHeldCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node, s := staged(t)
		done := put(t.Context(), node, "a", "1")
		call := only(t, s)
		if err := node.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; status.Code(err) != codes.Canceled {
			t.Errorf("error %v, want closing", err)
		}
		if call.Applied() || server.Get("a") != nil {
			t.Error("a call of a closed client took effect")
		}
		if _, err := node.Get(t.Context(), "a"); status.Code(err) != codes.Canceled {
			t.Errorf("call after close: %v", err)
		}
	})
}

func TestCallsSortTheSameWhateverTheOrderTheyCameIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		arrive := func(keys ...string) (texts []string) {
			server, node, s := staged(t)
			for _, key := range keys {
				go func() { _, _ = node.Put(t.Context(), key, "1") }()
				synctest.Wait()
			}
			for _, call := range s.waiting() {
				texts = append(texts, call.String())
			}
			server.Close()
			return texts
		}
		a, b := arrive("x", "y", "z"), arrive("z", "x", "y")
		for i := range a {
			if a[i] != b[i] {
				t.Errorf("orders %v and %v", a, b)
			}
		}
	})
}

func TestCallsAreReadable(t *testing.T) {
	ctx := t.Context()
	cases := []struct {
		call    func(*simetcd.Client) error
		text    string
		outcome string
	}{
		{
			func(c *simetcd.Client) error { _, err := c.Grant(ctx, 10); return err },
			"grant 10s", "lease 1, 10s",
		},
		{
			func(c *simetcd.Client) error { _, err := c.Put(ctx, "/t/1", "x", clientv3.WithLease(1)); return err },
			"put /t/1 on lease 1", "@2",
		},
		{
			func(c *simetcd.Client) error { _, err := c.Get(ctx, "/t/", clientv3.WithPrefix()); return err },
			"get /t/*", "1 of 1 @2",
		},
		{
			func(c *simetcd.Client) error {
				_, err := c.Get(ctx, "/", clientv3.WithFromKey(), clientv3.WithRev(2), clientv3.WithLimit(5))
				return err
			},
			"get /.. @2 limit 5", "1 of 1 @2",
		},
		{
			func(c *simetcd.Client) error {
				claim := clientv3.OpTxn(
					[]clientv3.Cmp{
						clientv3.Compare(clientv3.CreateRevision("/t/1"), "=", 2),
						clientv3.Compare(clientv3.Version("/t/1/owner"), "=", 0),
					},
					[]clientv3.Op{clientv3.OpPut("/t/1/owner", "n1")}, nil)
				_, err := c.Txn(ctx).Then(claim, claimed("/t/1")).Else(clientv3.OpGet("/t/1")).Commit()
				return err
			},
			"txn[then txn[if created(/t/1)=2, version(/t/1/owner)=0 then put /t/1/owner], " +
				`txn[if value(/t/1)!="", lease(/t/1)<7, modified(/t/1*)>1 then get /t/1] else get /t/1]`,
			"then(then, then) @3",
		},
		{
			func(c *simetcd.Client) error {
				gets := slices.Repeat([]clientv3.Op{clientv3.OpGet("a"), clientv3.OpDelete("b")}, 4)
				_, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Version("a"), "!=", 0)).Else(gets...).Commit()
				return err
			},
			"txn[if version(a)!=0 else get a, delete b, get a, delete b, get a, delete b, ... 2 more]", "else @3",
		},
		{
			func(c *simetcd.Client) error { _, err := c.Delete(ctx, "/t/1", clientv3.WithRange("/u")); return err },
			"delete /t/1../u", "deleted 2 @4",
		},
		{
			func(c *simetcd.Client) error { _, err := c.Compact(ctx, 99); return err },
			"compact @99", "etcdserver: mvcc: required revision is a future revision",
		},
		{
			func(c *simetcd.Client) error { _, err := c.KeepAliveOnce(ctx, 1); return err },
			"keep lease 1 alive", "10s",
		},
		{
			func(c *simetcd.Client) error { _, err := c.TimeToLive(ctx, 1); return err },
			"time to live of lease 1", "@4",
		},
		{
			func(c *simetcd.Client) error { _, err := c.Leases(ctx); return err },
			"list leases", "@4",
		},
		{
			func(c *simetcd.Client) error { _, err := c.Revoke(ctx, 1); return err },
			"revoke lease 1", "@4",
		},
		{
			func(c *simetcd.Client) error {
				c.Watch(ctx, "/t/", clientv3.WithPrefix(), clientv3.WithRev(3))
				return nil
			},
			"watch /t/* from @3", "ok",
		},
		{
			func(c *simetcd.Client) error { return c.RequestProgress(ctx) },
			"request progress", "ok",
		},
	}
	var last *simetcd.Call
	server := simetcd.NewServer()
	defer server.Close()
	node := server.Client("n1", func(_ context.Context, c *simetcd.Call) error {
		last = c
		return nil
	})
	for _, c := range cases {
		err := c.call(node)
		if last.String() != c.text {
			t.Errorf("call is %q, want %q", last, c.text)
		}
		if last.Outcome() != c.outcome {
			t.Errorf("outcome of %s is %q, want %q, error %v", last, last.Outcome(), c.outcome, err)
		}
	}
}

func claimed(key string) clientv3.Op {
	return clientv3.OpTxn([]clientv3.Cmp{
		clientv3.Compare(clientv3.Value(key), "!=", ""),
		clientv3.Compare(clientv3.LeaseValue(key), "<", 7),
		clientv3.Compare(clientv3.ModRevision(key).WithPrefix(), ">", 1),
	}, []clientv3.Op{clientv3.OpGet(key)}, nil)
}

func TestCutOffClientWaitsUntilItIsConnectedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node, s := staged(t)
		node.Disconnect()
		done := put(t.Context(), node, "a", "1")
		synctest.Wait()
		if n := len(s.waiting()); n != 0 {
			t.Errorf("%d calls got through", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := node.Get(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the deadline", err)
		}
		node.Reconnect()
		s.release(only(t, s), nil)
		if err := <-done; err != nil || server.Get("a") == nil {
			t.Errorf("put after reconnecting: %v", err)
		}
	})
}
