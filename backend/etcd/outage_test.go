package etcd_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/backend/etcd/embedded"
)

func TestEtcdUnreachableAtStart(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	endpoint := l.Addr().String()
	l.Close() // nobody listens there now
	cfg := clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 500 * time.Millisecond, Logger: zap.NewNop()}
	if cli, err := etcd.Dial(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), endpoint) {
		t.Errorf("Dial returned %v, %v; want an error that names %s", cli, err, endpoint)
	}
	cli, err := clientv3.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cli.Close() })
	coord, err := etcd.NewCoordinator(cli, "node-7", etcd.Options{RequestTimeout: 500 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = coord.Close() })
	if err := coord.Init(t.Context(), make(losses)); err == nil || !strings.Contains(err.Error(), "node-7") {
		t.Errorf("Init returned %v; want an error that names the node", err)
	}
}

// outage is an etcd that can be stopped and started, and a node of it.
type outage struct {
	t      *testing.T
	server *embedded.Server
	config embedded.Config
	cli    *clientv3.Client
	coord  *etcd.Coordinator
	lost   losses
	tasks  chan metafora.Task
}

func startOutage(t *testing.T, o etcd.Options) *outage {
	t.Helper()
	out := &outage{t: t, lost: make(losses, 100), tasks: make(chan metafora.Task, 100)}
	out.config = embedded.Config{Dir: t.TempDir(), NoFsync: true, ElectionTimeout: 300 * time.Millisecond}
	out.start()
	t.Cleanup(func() { _ = out.server.Close() })
	endpoint := out.server.Endpoints()[0]
	port, err := strconv.Atoi(endpoint[strings.LastIndex(endpoint, ":")+1:])
	if err != nil {
		t.Fatal(err)
	}
	out.config.Port = port
	out.cli, err = etcd.Dial(t.Context(), clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.cli.Close() })
	if out.coord, err = etcd.NewCoordinator(out.cli, "a", o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.coord.Close() })
	if err := out.coord.Init(t.Context(), out.lost); err != nil {
		t.Fatal(err)
	}
	watched := make(chan error, 1)
	go func() { watched <- out.coord.Watch(t.Context(), out.tasks) }()
	t.Cleanup(func() {
		if err := <-watched; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	return out
}

func (o *outage) start() {
	o.t.Helper()
	var err error
	if o.server, err = embedded.Start(o.t.Context(), o.config); err != nil {
		o.t.Fatal(err)
	}
}

func (o *outage) stop() {
	o.t.Helper()
	if err := o.server.Close(); err != nil {
		o.t.Fatal(err)
	}
}

// claim claims the next task that is announced and can be claimed.
func (o *outage) claim(id string) metafora.Claim {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), time.Minute)
	defer cancel()
	var err error
	for task := metafora.Task(nil); ; {
		select {
		case task = <-o.tasks:
		case <-ctx.Done():
			o.t.Fatalf("%q not claimed: %v", id, err)
		case <-time.After(20 * time.Millisecond): // again: the node may not have rejoined yet
		}
		if task == nil || task.ID() != id {
			continue
		}
		var claim metafora.Claim
		if claim, err = o.coord.Claim(ctx, task); err == nil {
			return claim
		}
	}
}

func (o *outage) submit(id string) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), time.Minute)
	defer cancel()
	client := newClient(o.t, o.cli, "")
	for {
		err := client.SubmitTask(ctx, metafora.NewTask(id))
		if err == nil || errors.Is(err, metafora.ErrTaskExists) {
			return
		}
		if !errors.Is(err, metafora.ErrUncertain) {
			o.t.Fatal(err)
		}
	}
}

func TestEtcdGoneForASecond(t *testing.T) {
	t.Parallel()
	o := startOutage(t, etcd.Options{TTL: 30 * time.Second})
	o.submit("t1")
	claim := o.claim("t1")
	o.stop()
	done := make(chan error, 1)
	go func() { done <- o.coord.Done(t.Context(), claim) }() // waits for etcd
	time.Sleep(time.Second)
	o.start()
	if err := <-done; err != nil {
		t.Errorf("Done across the outage: %v", err)
	}
	o.submit("t2")
	second := o.claim("t2")
	if second.Fence <= claim.Fence {
		t.Errorf("fence %d after %d", second.Fence, claim.Fence)
	}
	select {
	case c := <-o.lost:
		t.Errorf("lost %v", c)
	default:
	}
	if got := o.coord.Stats(); got.LeasesLost != 0 {
		t.Errorf("%d leases lost", got.LeasesLost)
	}
}

func TestEtcdGoneForLongerThanTheLease(t *testing.T) {
	t.Parallel()
	o := startOutage(t, etcd.Options{TTL: 2 * time.Second, Margin: time.Second, RequestTimeout: time.Second})
	o.submit("t1")
	claim := o.claim("t1")
	o.stop()
	if got := <-o.lost; got != claim { // while etcd is away, on the node's own clock
		t.Errorf("lost %v, want %v", got, claim)
	}
	o.start()
	o.submit("t2")
	if got := o.claim("t2"); got.Fence <= claim.Fence {
		t.Errorf("fence %d after %d", got.Fence, claim.Fence)
	}
	if err := o.coord.Release(t.Context(), claim); err != nil && !errors.Is(err, metafora.ErrNotOwner) {
		t.Errorf("Release of the lost claim: %v", err)
	}
	if again := o.claim("t1"); again.Fence <= claim.Fence {
		t.Errorf("fence %d after %d", again.Fence, claim.Fence)
	}
}
