package etcd_test

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/backendtest"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/backend/etcd/embedded"
	"github.com/metafora-go/metafora/statemachine"
)

func TestConformance(t *testing.T) {
	cli := startEtcd(t)
	var brokers atomic.Int64
	backendtest.Run(t, backendtest.Harness{
		NewBroker: func(t testing.TB) backendtest.Broker {
			return newBroker(cli, fmt.Sprintf("/test/%d", brokers.Add(1)))
		},
		Parallel: true,
		TTL:      3 * time.Second,
		Margin:   time.Second,
		TooLarge: 2 << 20,
	})
}

// startEtcd starts an etcd server that lives as long as the test.
func startEtcd(t testing.TB) *clientv3.Client {
	t.Helper()
	srv, err := embedded.Start(t.Context(), embedded.Config{NoFsync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	cli, err := srv.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cli.Close() })
	return cli
}

// newBroker is a namespace of an etcd as the suite sees it. Keys are spelled out
// here: they are documented, and people write them with etcdctl.
func newBroker(cli *clientv3.Client, namespace string) backendtest.Broker {
	var mu sync.Mutex
	conns := make(map[string]*conn)
	connOf := func(node string) *conn {
		mu.Lock()
		defer mu.Unlock()
		return conns[node]
	}
	put := func(t testing.TB, value []byte, path ...string) {
		t.Helper()
		key := namespace
		for _, p := range path {
			key += "/" + url.PathEscape(p)
		}
		if _, err := cli.Put(context.Background(), key, string(value)); err != nil {
			t.Fatal(err)
		}
	}
	return backendtest.Broker{
		NewCoordinator: func(t testing.TB, name string, o backendtest.NodeOptions) metafora.Coordinator {
			c := &conn{Conn: cli}
			mu.Lock()
			conns[name] = c
			mu.Unlock()
			coord, err := etcd.NewCoordinator(c, name, etcd.Options{
				Namespace: namespace, TTL: o.TTL, Margin: o.Margin, TaskFunc: o.TaskFunc, Labels: o.Labels, Weight: o.Weight,
				RequestTimeout: 3 * time.Second,
			})
			if err != nil {
				return invalidCoordinator{name: name, err: err}
			}
			return coord
		},
		NewClient: func(t testing.TB) metafora.Client { return newClient(t, cli, namespace) },
		Extend: func(t testing.TB, suffix string) backendtest.Broker {
			return newBroker(cli, namespace+suffix)
		},
		NewStateStore: func(_ testing.TB, c metafora.Coordinator) statemachine.StateStore {
			return c.(*etcd.Coordinator).StateStore()
		},
		NewListener: func(_ testing.TB, c metafora.Coordinator) statemachine.CommandListener {
			return c.(*etcd.Coordinator).CommandListener()
		},
		NewCommander: func(t testing.TB) statemachine.Commander { return newClient(t, cli, namespace) },
		Faults: backendtest.Faults{
			Compact: func(t testing.TB) {
				resp, err := cli.Get(context.Background(), "/")
				if err == nil {
					_, err = cli.Compact(context.Background(), resp.Header.Revision)
				}
				// Parallel checks may have compacted a later revision.
				if err != nil {
					t.Log(err)
				}
			},
			Partition:   func(_ testing.TB, node string) { connOf(node).partition() },
			Heal:        func(_ testing.TB, node string) { connOf(node).heal() },
			Kill:        func(_ testing.TB, node string) { connOf(node).kill() },
			LoseReply:   func(_ testing.TB, node string) { connOf(node).loseReply() },
			RevokeLease: func(t testing.TB, node string) { revokeLease(t, cli, namespace+"/nodes/"+url.PathEscape(node)) },
			DeleteOwner: func(t testing.TB, id string) {
				if _, err := cli.Delete(context.Background(), namespace+"/tasks/"+url.PathEscape(id)+"/owner"); err != nil {
					t.Fatal(err)
				}
			},
			PutRawTask: func(t testing.TB, id string, v []byte) { put(t, v, "tasks", id) },
			PutRawCommand: func(t testing.TB, node string, v []byte) {
				put(t, v, "nodes", node, "commands", fmt.Sprint(time.Now().UnixNano()))
			},
			PutRawTaskCommand: func(t testing.TB, id string, v []byte) { put(t, v, "commands", id) },
			PutRawState:       func(t testing.TB, id string, v []byte) { put(t, v, "state", id) },
		},
	}
}

func newClient(t testing.TB, cli *clientv3.Client, namespace string) *etcd.Client {
	t.Helper()
	c, err := etcd.NewClient(cli, etcd.Options{Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// revokeLease ends the lease of a key.
func revokeLease(t testing.TB, cli *clientv3.Client, key string) {
	t.Helper()
	resp, err := cli.Get(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		t.Fatalf("no key %s", key)
	}
	if _, err := cli.Revoke(context.Background(), clientv3.LeaseID(resp.Kvs[0].Lease)); err != nil {
		t.Fatal(err)
	}
}

// invalidCoordinator stands for one that could not be made: the suite expects a
// bad name to be refused by Init.
type invalidCoordinator struct {
	metafora.Coordinator
	name string
	err  error
}

func (c invalidCoordinator) Name() string { return c.name }
func (c invalidCoordinator) Close() error { return nil }
func (c invalidCoordinator) Init(context.Context, metafora.CoordinatorContext) error {
	return c.err
}
