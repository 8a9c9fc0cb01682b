package embedded_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora/backend/etcd/embedded"
)

func startCluster(t *testing.T) *embedded.Cluster {
	t.Helper()
	cl, err := embedded.StartCluster(t.Context(), embedded.ClusterConfig{
		Member: embedded.Config{NoFsync: true, ElectionTimeout: 500 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cl.Close(); err != nil {
			t.Error(err)
		}
	})
	return cl
}

func clusterClient(t *testing.T, cl *embedded.Cluster) *clientv3.Client {
	t.Helper()
	cli, err := cl.Client()
	if err != nil {
		t.Fatal(err)
	}
	return cli
}

// putEventually repeats a write until the cluster takes it: while it has no
// leader, writes fail.
func putEventually(t *testing.T, cli *clientv3.Client, key, value string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		_, err := cli.Put(ctx, key, value)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("put %s: %v", key, err)
		}
	}
}

func TestClusterOutlivesItsLeader(t *testing.T) {
	cl := startCluster(t)
	if n := len(cl.Members()); n != 3 {
		t.Fatalf("%d members, want 3", n)
	}
	cli := clusterClient(t, cl)
	putEventually(t, cli, "before", "1")

	old := cl.Leader()
	if old == nil {
		t.Fatal("no leader after a write")
	}
	endpoint := old.Endpoint()
	old.Stop()
	old.Stop() // changes nothing
	putEventually(t, cli, "while down", "2")
	if now := cl.Leader(); now == nil || now == old {
		t.Fatalf("leader is %v, the old one was %s", now, old.Name())
	}

	if err := old.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if old.Endpoint() != endpoint || !slices.Contains(cl.Endpoints(), endpoint) {
		t.Errorf("endpoint changed from %s to %s", endpoint, old.Endpoint())
	}
	alone := dial(t, []string{endpoint})
	for key, want := range map[string]string{"before": "1", "while down": "2"} {
		if got := get(t, alone, key); got != want {
			t.Errorf("on the member that came back %q is %q, want %q", key, got, want)
		}
	}
}

func TestClusterWithoutMajorityTakesNoWrites(t *testing.T) {
	cl := startCluster(t)
	cli := clusterClient(t, cl)
	putEventually(t, cli, "k", "1")
	members := cl.Members()
	members[0].Stop()
	members[1].Stop()

	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := cli.Put(ctx, "k", "2"); err == nil {
		t.Fatal("a write was taken by a minority")
	}
	if err := members[0].Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	putEventually(t, cli, "k", "3")
}

func TestCancelledClusterStartNamesTheCause(t *testing.T) {
	cause := errors.New("changed my mind")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := embedded.StartCluster(ctx, embedded.ClusterConfig{}); !errors.Is(err, cause) {
		t.Errorf("StartCluster returned %v, want the cause", err)
	}
}

func TestMemberCannotStartAlone(t *testing.T) {
	cl := startCluster(t)
	members := cl.Members()
	for _, m := range members {
		m.Stop()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := members[0].Start(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), members[0].Name()) {
		t.Errorf("Start returned %v, want a timeout that names the member", err)
	}
}

func TestClusterConfigErrorsNameTheValue(t *testing.T) {
	for want, c := range map[string]embedded.ClusterConfig{
		"-1":    {Members: -1},
		"/data": {Member: embedded.Config{Dir: "/data"}},
		"2379":  {Member: embedded.Config{Port: 2379}},
	} {
		if _, err := embedded.StartCluster(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error does not name %q: %v", want, err)
		}
	}
}
