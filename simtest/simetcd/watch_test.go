package simetcd_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora/simtest/simetcd"
)

// manual returns a server whose watches a test serves, and a node without gate.
func manual(t *testing.T) (*simetcd.Server, *simetcd.Client) {
	t.Helper()
	server := simetcd.NewServer(simetcd.Manual())
	t.Cleanup(server.Close)
	return server, server.Client("n1", nil)
}

func mustPut(t *testing.T, c clientv3.KV, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if _, err := c.Put(t.Context(), key, "x"); err != nil {
			t.Fatal(err)
		}
	}
}

// got returns what is in a watch channel once all goroutines wait.
func got(ch clientv3.WatchChan) string {
	var texts []string
	for {
		synctest.Wait()
		select {
		case resp, ok := <-ch:
			if !ok {
				return strings.Join(append(texts, "closed"), ", ")
			}
			texts = append(texts, text(resp))
		default:
			return strings.Join(texts, ", ")
		}
	}
}

func text(resp clientv3.WatchResponse) string {
	switch {
	case resp.CompactRevision != 0:
		return fmt.Sprintf("compacted @%d", resp.CompactRevision)
	case resp.Err() != nil:
		return resp.Err().Error()
	case resp.Created:
		return fmt.Sprintf("created @%d", resp.Header.Revision)
	case resp.IsProgressNotify():
		return fmt.Sprintf("progress @%d", resp.Header.Revision)
	}
	var keys []string
	for _, e := range resp.Events {
		verb := "+"
		if e.Type == clientv3.EventTypeDelete {
			verb = "-"
		}
		keys = append(keys, verb+string(e.Kv.Key))
	}
	return fmt.Sprintf("%s @%d", strings.Join(keys, " "), resp.Header.Revision)
}

func expect(t *testing.T, ch clientv3.WatchChan, want string) {
	t.Helper()
	if text := got(ch); text != want {
		t.Errorf("watch delivered %q, want %q", text, want)
	}
}

func TestWatchDeliversByItselfInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := simetcd.NewServer()
		defer server.Close()
		node := server.Client("n1", nil)
		ch := node.Watch(t.Context(), "a", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		mustPut(t, node, "a1", "b", "a2")
		if _, err := node.Delete(t.Context(), "a", clientv3.WithPrefix()); err != nil {
			t.Fatal(err)
		}
		expect(t, ch, "created @1, +a1 @2, +a2 @4, -a1 -a2 @5")
		expect(t, node.Watch(t.Context(), "a", clientv3.WithPrefix(), clientv3.WithRev(1)), "+a1 +a2 -a1 -a2 @5")
	})
}

func TestWatchDeliversWhenTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node := manual(t)
		ch := node.Watch(t.Context(), "a", clientv3.WithPrefix())
		w := server.Watches()[0]
		mustPut(t, node, "a1", "b", "a2", "a3", "a4")
		expect(t, ch, "")
		if w.Pending() != 4 || w.Peek() != "put a1 @2" || w.String() != "watch a*" || w.Node() != "n1" {
			t.Errorf("%s of %s: %d pending, next %q", w, w.Node(), w.Pending(), w.Peek())
		}
		w.Deliver(1)
		expect(t, ch, "+a1 @2")
		w.Deliver(2)
		expect(t, ch, "+a2 +a3 @5")
		w.Deliver(9)
		expect(t, ch, "+a4 @6")
		if w.Deliver(1) || w.Pending() != 0 || w.Peek() != "" {
			t.Error("there is more")
		}
	})
}

func TestWatchKeepsARevisionTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node := manual(t)
		ch := node.Watch(t.Context(), "", clientv3.WithPrefix())
		if _, err := node.Txn(t.Context()).Then(clientv3.OpPut("b", ""), clientv3.OpPut("a", "")).Commit(); err != nil {
			t.Fatal(err)
		}
		server.Watches()[0].Deliver(1)
		expect(t, ch, "+b +a @2")
	})
}

func TestWatchIsNotReadyBeforeItsClientTookTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node := manual(t)
		ch := node.Watch(t.Context(), "a")
		w := server.Watches()[0]
		mustPut(t, node, "a", "a", "a")
		for _, want := range []bool{true, true, false} { // the channel holds one, the goroutine another
			if w.Deliver(1) != want {
				t.Errorf("Deliver was not %v", want)
			}
			synctest.Wait()
		}
		expect(t, ch, "+a @2, +a @3")
	})
}

func TestWatchThatIsBehindFindsOutAboutACompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node := manual(t)
		mustPut(t, node, "a", "a", "a")
		ch := node.Watch(t.Context(), "a", clientv3.WithRev(2))
		if err := server.Compact(3); err != nil {
			t.Fatal(err)
		}
		w := server.Watches()[0]
		if w.Pending() != 1 || w.Peek() != "compacted" {
			t.Errorf("%d pending, next %q", w.Pending(), w.Peek())
		}
		w.Deliver(1)
		expect(t, ch, "compacted @3, closed")
		if len(server.Watches()) != 0 {
			t.Error("the watch is still there")
		}
	})
}

func TestWatchThatKeptUpSurvivesACompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node := manual(t)
		ch := node.Watch(t.Context(), "a", clientv3.WithPrevKV())
		mustPut(t, node, "a", "a", "a")
		if err := server.Compact(4); err != nil {
			t.Fatal(err)
		}
		w := server.Watches()[0]
		w.Deliver(3)
		expect(t, ch, "+a +a +a @4")
	})
}

func TestBrokenStreamGoesOnWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node := manual(t)
		ch := node.Watch(t.Context(), "a")
		w := server.Watches()[0]
		mustPut(t, node, "a", "a", "a")
		w.Deliver(1)
		expect(t, ch, "+a @2")
		w.Break()
		w.Deliver(9)
		expect(t, ch, "+a +a @4")
	})
}

func TestBrokenStreamDoesNotSurviveACompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node := manual(t)
		ch := node.Watch(t.Context(), "a")
		w := server.Watches()[0]
		mustPut(t, node, "a", "a", "a")
		w.Deliver(1)
		expect(t, ch, "+a @2")
		if err := server.Compact(4); err != nil {
			t.Fatal(err)
		}
		w.Break()
		w.Deliver(1)
		expect(t, ch, "compacted @4, closed")
	})
}

// A watch from now on whose stream breaks before its first event asks for the
// revision at which it was made, as clientv3 does.
func TestBrokenStreamOfAYoungWatchRepeatsARevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node := manual(t)
		mustPut(t, node, "a")
		ch := node.Watch(t.Context(), "a")
		server.Watches()[0].Break()
		server.Watches()[0].Deliver(1)
		expect(t, ch, "+a @2")
	})
}

func TestWatchEndsAsToldAndWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node := manual(t)
		ends := []struct {
			end  func(*simetcd.Watch, context.CancelFunc)
			want string
		}{
			{func(w *simetcd.Watch, _ context.CancelFunc) { w.Cancel("etcdserver: no leader") }, "+a @2, etcdserver: no leader, closed"},
			{func(w *simetcd.Watch, _ context.CancelFunc) { w.Close(); w.Close() }, "+a @2, closed"},
			{func(_ *simetcd.Watch, cancel context.CancelFunc) { cancel() }, "+a @2, closed"},
			{func(*simetcd.Watch, context.CancelFunc) { _ = node.Close() }, "+a @2, closed"},
		}
		mustPut(t, node, "a")
		for _, e := range ends {
			ctx, cancel := context.WithCancel(t.Context())
			ch := node.Watch(ctx, "a", clientv3.WithRev(1))
			w := server.Watches()[0]
			w.Deliver(1)
			synctest.Wait()
			e.end(w, cancel)
			expect(t, ch, e.want)
			if len(server.Watches()) != 0 {
				t.Error("the watch is still there")
			}
			cancel()
		}
		expect(t, node.Watch(t.Context(), "a"), "closed")
	})
}

func TestProgressComesAfterAllEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node := manual(t)
		ch := node.Watch(t.Context(), "a", clientv3.WithProgressNotify())
		w := server.Watches()[0]
		mustPut(t, node, "a", "b")
		if w.Progress() {
			t.Error("progress overtook an event")
		}
		if err := node.RequestProgress(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustPut(t, node, "a")
		for _, want := range []string{"+a @2", "progress @3", "+a @4"} {
			w.Deliver(9)
			expect(t, ch, want)
		}
		mustPut(t, node, "b")
		if !w.Progress() {
			t.Error("no progress")
		}
		expect(t, ch, "progress @5")
	})
}

func TestProgressIsForTheWatchesOfAContextThatKeepUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node := manual(t)
		other := clientv3.WithRequireLeader(t.Context())
		ch := node.Watch(other, "a")
		request := func(ctx context.Context, want int) {
			t.Helper()
			if err := node.RequestProgress(ctx); err != nil {
				t.Fatal(err)
			}
			if n := server.Watches()[0].Pending(); n != want {
				t.Errorf("%d notifications, want %d", n, want)
			}
		}
		request(t.Context(), 0)
		future := node.Watch(other, "b", clientv3.WithRev(3))
		request(other, 0)
		mustPut(t, node, "c", "b")
		request(other, 1)
		for _, w := range server.Watches() {
			for w.Deliver(9) {
				synctest.Wait()
			}
		}
		expect(t, ch, "progress @3")
		expect(t, future, "+b @3, progress @3")
	})
}

func TestReconnectedWatchGoesOnOrFindsOutAboutACompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := simetcd.NewServer()
		defer server.Close()
		node, other := server.Client("n1", nil), server.Client("n2", nil)
		ch := node.Watch(t.Context(), "a")
		node.Disconnect()
		node.Disconnect()
		mustPut(t, other, "a", "a")
		expect(t, ch, "")
		node.Reconnect()
		node.Reconnect()
		expect(t, ch, "+a +a @3")
		node.Disconnect()
		mustPut(t, other, "a", "a")
		if err := server.Compact(5); err != nil {
			t.Fatal(err)
		}
		node.Reconnect()
		expect(t, ch, "compacted @5, closed")
	})
}

func TestWatchIsAskedForUntilTheServerIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, node, s := staged(t)
		opened := make(chan clientv3.WatchChan)
		open := func() { go func() { opened <- node.Watch(t.Context(), "a") }() }
		open()
		s.release(only(t, s), simetcd.ErrUnavailable)
		time.Sleep(time.Second)
		again := only(t, s)
		again.Apply()
		s.release(again, rpctypes.ErrNoLeader) // for which clientv3 tries again, too
		time.Sleep(time.Second)
		s.release(only(t, s), nil)
		expect(t, <-opened, "")

		open()
		s.release(only(t, s), errors.New("broken"))
		expect(t, <-opened, "rpc error: code = FailedPrecondition desc = broken, closed")
	})
}

func TestWatchesAreSorted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node := manual(t)
		first := server.Client("n0", nil)
		node.Watch(t.Context(), "b")
		node.Watch(t.Context(), "a")
		first.Watch(t.Context(), "c")
		var keys []string
		for _, w := range server.Watches() {
			keys = append(keys, w.Key())
		}
		if len(keys) != 3 || !slices.IsSorted(keys) || server.Watches()[0].Node() != "n0" {
			t.Errorf("keys %q", keys)
		}
	})
}
