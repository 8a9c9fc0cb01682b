package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/backend/etcd/embedded"
)

// roleVariable tells a child of this program what to be.
const roleVariable = "METAFORA_BENCH_ROLE"

func play(role string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	switch role {
	case "etcd":
		return playEtcd(ctx)
	case "node":
		return playNode(ctx)
	}
	return fmt.Errorf("unknown role %q", role)
}

func playEtcd(ctx context.Context) error {
	srv, err := embedded.Start(ctx, embedded.Config{})
	if err != nil {
		return err
	}
	fmt.Println(srv.Endpoints()[0])
	waitForParent(ctx)
	return srv.Close()
}

// waitForParent returns when the parent closes this process's standard input, as
// it does when it dies, or when ctx ends.
func waitForParent(ctx context.Context) {
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(gone)
	}()
	select {
	case <-gone:
	case <-ctx.Done():
	}
}

// child is a process of this program in another role.
type child struct {
	cmd   *exec.Cmd
	stdin io.Closer
	first string // the first line that it printed
	done  sync.Once
}

func startChild(role string, env ...string) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), append(env, roleVariable+"="+role)...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, stdin: stdin}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		c.stop()
		return nil, fmt.Errorf("%s process: %w", role, err)
	}
	c.first = strings.TrimSpace(line)
	return c, nil
}

// stop ends the process gracefully and waits for it.
func (c *child) stop() {
	c.done.Do(func() {
		_ = c.stdin.Close()
		_ = c.cmd.Wait()
	})
}

// kill ends it as a crash would.
func (c *child) kill() {
	c.done.Do(func() {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
		_ = c.stdin.Close()
	})
}

// server is an etcd in a process of its own, and a client of it.
type server struct {
	*child
	cli *clientv3.Client
}

func startServer(ctx context.Context) (*server, error) {
	c, err := startChild("etcd")
	if err != nil {
		return nil, err
	}
	s := &server{child: c}
	if s.cli, err = dial(ctx, c.first); err != nil {
		c.stop()
		return nil, err
	}
	return s, nil
}

func dial(ctx context.Context, endpoint string) (*clientv3.Client, error) {
	return etcd.Dial(ctx, clientv3.Config{Endpoints: []string{endpoint}})
}

// dial returns more connections to the server.
func (s *server) dial(ctx context.Context, count int) ([]*clientv3.Client, error) {
	var all []*clientv3.Client
	for range count {
		cli, err := dial(ctx, s.first)
		if err != nil {
			return nil, err
		}
		all = append(all, cli)
	}
	return all, nil
}

func (s *server) close() {
	_ = s.cli.Close()
	s.stop()
}

// counters are what the server has counted.
type counters struct {
	proposals float64
	requests  map[string]float64 // by gRPC method
}

func (s *server) counters(ctx context.Context) (counters, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.first+"/metrics", nil)
	if err != nil {
		return counters{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return counters{}, err
	}
	defer resp.Body.Close()
	c := counters{requests: make(map[string]float64)}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, ok := cutLast(lines.Text(), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue
		}
		switch {
		case name == "etcd_server_proposals_committed_total":
			c.proposals = v
		case strings.HasPrefix(name, "grpc_server_msg_received_total"):
			_, rest, _ := strings.Cut(name, `grpc_method="`)
			method, _, _ := strings.Cut(rest, `"`)
			c.requests[method] += v
		}
	}
	if c.proposals == 0 {
		return c, errors.New("etcd's metrics have no proposals")
	}
	return c, lines.Err()
}

// countersLater returns the counters once nodes that come too late for a task have
// had their try.
func (s *server) countersLater(ctx context.Context) (counters, error) {
	select {
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
		return counters{}, ctx.Err()
	}
	return s.counters(ctx)
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// rawClaims is the limit of this etcd: claims without the library, the better of two
// tries, of which the first finds everything cold.
func (s *server) rawClaims(ctx context.Context, n int) (perSec float64, err error) {
	for try := range 2 {
		rate, err := s.rawClaimsUnder(ctx, fmt.Sprintf("/raw/%d/tasks/", try), n)
		if err != nil {
			return 0, err
		}
		perSec = max(perSec, rate)
	}
	return perSec, nil
}

// rawClaimsUnder puts owners under a prefix, in nested transactions as large as etcd
// allows, two of them under way.
func (s *server) rawClaimsUnder(ctx context.Context, prefix string, n int) (perSec float64, err error) {
	const group = 125
	lease, err := s.cli.Grant(ctx, 60)
	if err != nil {
		return 0, err
	}
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	begun := time.Now()
	for half := range 2 {
		wg.Go(func() {
			for i := half * n / 2; i < (half+1)*n/2; i += group {
				ops := make([]clientv3.Op, 0, group)
				for j := i; j < min(i+group, (half+1)*n/2); j++ {
					task := fmt.Sprintf("%stask-%06d", prefix, j)
					key := task + "/owner"
					ops = append(ops, clientv3.OpTxn(
						[]clientv3.Cmp{
							clientv3.Compare(clientv3.CreateRevision(task), "=", 0),
							clientv3.Compare(clientv3.CreateRevision(key), "=", 0),
						},
						[]clientv3.Op{clientv3.OpPut(key, `{"node":"raw"}`, clientv3.WithLease(lease.ID))},
						[]clientv3.Op{clientv3.OpGet(key)}))
				}
				if _, err := s.cli.Txn(ctx).Then(ops...).Commit(); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	if err := <-errs; err != nil {
		return 0, err
	}
	perSec = perSecond(n, begun)
	_, err = s.cli.Revoke(ctx, lease.ID)
	return perSec, err
}
