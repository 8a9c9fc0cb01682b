package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/metafora-go/metafora/backend/etcd/embedded"
)

// start runs a server until the test ends. Tests need no fsync.
func start(t *testing.T, c embedded.Config) *embedded.Server {
	t.Helper()
	c.NoFsync = true
	srv, err := embedded.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	return srv
}

func client(t *testing.T, srv *embedded.Server) *clientv3.Client {
	t.Helper()
	cli, err := srv.Client()
	if err != nil {
		t.Fatal(err)
	}
	return cli
}

// dial connects over the network, as another process does.
func dial(t *testing.T, endpoints []string) *clientv3.Client {
	t.Helper()
	cli, err := clientv3.New(clientv3.Config{Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cli.Close() })
	return cli
}

func put(t *testing.T, cli *clientv3.Client, key, value string) {
	t.Helper()
	if _, err := cli.Put(t.Context(), key, value); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, cli *clientv3.Client, key string) string {
	t.Helper()
	resp, err := cli.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) == 0 {
		return ""
	}
	return string(resp.Kvs[0].Value)
}

func TestInProcessAndNetworkClientsSeeTheSameKeys(t *testing.T) {
	srv := start(t, embedded.Config{})
	put(t, client(t, srv), "k", "v")
	if got := get(t, dial(t, srv.Endpoints()), "k"); got != "v" {
		t.Errorf("over the network k is %q, want v", got)
	}
}

func TestAdvertisedEndpointIsTheRealOne(t *testing.T) {
	srv := start(t, embedded.Config{})
	resp, err := client(t, srv).MemberList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(resp.Members[0].ClientURLs), fmt.Sprint(srv.Endpoints()); got != want {
		t.Errorf("member list shows %s, Endpoints %s", got, want)
	}
}

func TestDataSurvivesCloseInAGivenDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "data")
	for i := range 3 {
		srv := start(t, embedded.Config{Dir: dir})
		cli := client(t, srv)
		if i > 0 {
			if got := get(t, cli, "k"); got != strconv.Itoa(i-1) {
				t.Fatalf("start %d: k is %q, want %d", i, got, i-1)
			}
		}
		put(t, cli, "k", strconv.Itoa(i))
		if err := srv.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTemporaryDirectoryIsRemoved(t *testing.T) {
	srv := start(t, embedded.Config{})
	if _, err := os.Stat(srv.Dir()); err != nil {
		t.Fatal(err)
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(srv.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close, stat of the directory says %v", err)
	}
}

func TestCloseEndsOpenWatchesLeasesAndClients(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	srv := start(t, embedded.Config{})
	remote, err := clientv3.New(clientv3.Config{Endpoints: srv.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	for _, cli := range []*clientv3.Client{client(t, srv), remote} {
		lease, err := cli.Grant(t.Context(), 60)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cli.KeepAlive(t.Context(), lease.ID); err != nil {
			t.Fatal(err)
		}
		created := <-cli.Watch(t.Context(), "k", clientv3.WithCreatedNotify())
		if err := created.Err(); err != nil {
			t.Fatal(err)
		}
	}

	const patience = 5 * time.Second // etcd itself waits 7 s for open watches
	closed := make(chan error, 1)
	go func() { closed <- srv.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatalf("Close did not return in %v", patience)
	}
	if _, err := srv.Client(); err == nil {
		t.Error("Client works after Close")
	}
}

func TestLeaseExpires(t *testing.T) {
	srv := start(t, embedded.Config{ElectionTimeout: 100 * time.Millisecond})
	cli := client(t, srv)
	lease, err := cli.Grant(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if lease.TTL != 1 {
		t.Fatalf("granted a TTL of %d s, want 1", lease.TTL)
	}
	put2, err := cli.Put(t.Context(), "k", "v", clientv3.WithLease(lease.ID))
	if err != nil {
		t.Fatal(err)
	}
	resp := <-cli.Watch(t.Context(), "k", clientv3.WithRev(put2.Header.Revision+1))
	if err := resp.Err(); err != nil || resp.Events[0].Type != clientv3.EventTypeDelete {
		t.Errorf("want a delete event, got %v, %v", resp.Events, err)
	}
}

func TestTransactionsNest(t *testing.T) {
	cli := client(t, start(t, embedded.Config{}))
	ops := make([]clientv3.Op, 64)
	for i := range ops {
		key := "k" + strconv.Itoa(i)
		ops[i] = clientv3.OpTxn(
			[]clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", 0)},
			[]clientv3.Op{clientv3.OpPut(key, "v")}, nil)
	}
	resp, err := cli.Txn(t.Context()).Then(ops...).Commit()
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range resp.Responses {
		if !r.GetResponseTxn().Succeeded {
			t.Errorf("operation %d did not apply", i)
		}
	}
}

func TestStartErrorsNameTheValue(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	takenPort := taken.Addr().(*net.TCPAddr).Port
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	for name, tc := range map[string]struct {
		config embedded.Config
		want   string
	}{
		"port taken":             {embedded.Config{Port: takenPort}, strconv.Itoa(takenPort)},
		"port out of range":      {embedded.Config{Port: 70000}, "70000"},
		"negative port":          {embedded.Config{Port: -1}, "-1"},
		"host is no address":     {embedded.Config{Host: "nowhere.invalid"}, "nowhere.invalid"},
		"directory is a file":    {embedded.Config{Dir: file}, file},
		"election too short":     {embedded.Config{ElectionTimeout: time.Millisecond}, "1ms"},
		"negative retention":     {embedded.Config{RetainFor: -time.Hour}, "-1h"},
		"negative revisions":     {embedded.Config{RetainRevisions: -7}, "-7"},
		"half of TLS":            {embedded.Config{TLS: embedded.TLS{CertFile: "server.pem"}}, "server.pem"},
		"certificate is missing": {embedded.Config{TLS: embedded.TLS{CertFile: "no.pem", KeyFile: "no-key.pem", ClientCAFile: "ca.pem"}}, "no.pem"},
		"two kinds of retention": {embedded.Config{RetainFor: time.Hour, RetainRevisions: 9}, "9"},
	} {
		t.Run(name, func(t *testing.T) {
			srv, err := embedded.Start(t.Context(), tc.config)
			if err == nil {
				srv.Close()
				t.Fatal("Start succeeded")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error does not name %q: %v", tc.want, err)
			}
		})
	}
}

func TestDirectoryInUseIsRefused(t *testing.T) {
	dir := t.TempDir()
	start(t, embedded.Config{Dir: dir})
	_, err := embedded.Start(t.Context(), embedded.Config{Dir: dir})
	if !errors.Is(err, embedded.ErrDirLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second server in the directory: %v", err)
	}
}

// A server that knows nothing of our lock file uses the directory.
func TestDirectoryOfAForeignEtcdIsRefused(t *testing.T) {
	dir := t.TempDir()
	start(t, embedded.Config{Dir: dir})
	if err := os.Remove(filepath.Join(dir, "metafora.lock")); err != nil {
		t.Fatal(err)
	}
	_, err := embedded.Start(t.Context(), embedded.Config{Dir: dir})
	if !errors.Is(err, embedded.ErrDirLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second server in the directory: %v", err)
	}
}

func TestCancelledStartLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	cause := errors.New("changed my mind")
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := embedded.Start(ctx, embedded.Config{Dir: dir}); !errors.Is(err, cause) {
		t.Fatalf("Start returned %v, want the cause", err)
	}
	srv := start(t, embedded.Config{Dir: dir}) // the directory is free
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
}

func TestCloseIsIdempotentAndConcurrent(t *testing.T) {
	srv := start(t, embedded.Config{})
	errs := make(chan error)
	for range 4 {
		go func() { errs <- srv.Close() }()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestGivenPortIsUsed(t *testing.T) {
	first := start(t, embedded.Config{})
	u := first.Endpoints()[0]
	port, err := strconv.Atoi(u[strings.LastIndex(u, ":")+1:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Start(t.Context(), embedded.Config{Port: port}); err == nil {
		t.Fatal("two servers share a port")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := start(t, embedded.Config{Port: port})
	if got := second.Endpoints()[0]; got != u {
		t.Errorf("endpoint is %s, want %s", got, u)
	}
}

func TestLogsArriveAtTheirLevels(t *testing.T) {
	var out strings.Builder
	l := hclog.New(&hclog.LoggerOptions{Output: &out, Level: hclog.Debug})
	srv := start(t, embedded.Config{Name: "chatty", Logger: l})
	remote, err := clientv3.New(clientv3.Config{Endpoints: srv.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	if _, err := remote.Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	if log := out.String(); !strings.Contains(log, "[DEBUG] starting an etcd server") || !strings.Contains(log, "name=chatty") {
		t.Errorf("log lacks etcd's start:\n%.2000s", log)
	}
	for line := range strings.Lines(out.String()) {
		if !strings.Contains(line, "[DEBUG]") {
			t.Errorf("a start and stop in good order says above Debug: %s", line)
		}
	}
}
