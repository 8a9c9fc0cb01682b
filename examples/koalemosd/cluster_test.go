//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/backend/etcd/embedded"
	"github.com/metafora-go/metafora/examples/internal/koalemos"
)

// patience is how long tests wait for what must happen. Nothing depends on how
// long it takes, but how long a failing test does.
const patience = 60 * time.Second

const namespace = "/e2e"

// programs builds koalemosd and koalemosctl, and returns the directory with both.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", dir, ".", "../koalemosctl")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build.Args, err, out)
	}
	return dir
}

// cluster is an etcd in this process, and koalemosd processes that use it.
type cluster struct {
	programs string
	work     string // directory of the workers
	etcd     *clientv3.Client
	endpoint string
	client   metafora.Client
}

func newCluster(t *testing.T, programs string) *cluster {
	t.Helper()
	srv, err := embedded.Start(t.Context(), embedded.Config{NoFsync: true, ElectionTimeout: 500 * time.Millisecond})
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
	client, err := etcd.NewClient(cli, etcd.Options{Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{programs: programs, work: t.TempDir(), etcd: cli, endpoint: srv.Endpoints()[0], client: client}
}

// node is a koalemosd process.
type node struct {
	name   string
	cmd    *exec.Cmd
	ended  chan struct{}
	stderr string // file
}

// start starts a node. It is killed at the end of the test, unless it has ended.
func (c *cluster) start(t *testing.T, name string, flags ...string) *node {
	t.Helper()
	flags = append([]string{"-etcd", c.endpoint, "-namespace", namespace, "-name", name, "-output", t.TempDir()}, flags...)
	return startKoalemosd(t, c.programs, name, os.Stdout, flags...)
}

func startKoalemosd(t *testing.T, programs, name string, stdout *os.File, flags ...string) *node {
	t.Helper()
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	n := &node{name: name, ended: make(chan struct{}), stderr: stderr.Name()}
	n.cmd = exec.Command(filepath.Join(programs, "koalemosd"), flags...)
	n.cmd.Stdout, n.cmd.Stderr = stdout, stderr
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(n.ended)
		_ = n.cmd.Wait() // tests look at cmd.ProcessState
	}()
	t.Cleanup(func() {
		_ = n.cmd.Process.Kill() // it may have ended
		<-n.ended
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, n.log(t))
		}
	})
	return n
}

func (n *node) log(t *testing.T) string {
	t.Helper()
	log, err := os.ReadFile(n.stderr)
	if err != nil {
		t.Error(err)
	}
	return string(log)
}

func (n *node) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := n.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("%v for %s: %v", sig, n.name, err)
	}
}

// wait waits for the end of the process and returns its exit status, -1 if a
// signal ended it.
func (n *node) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-n.ended:
		return n.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("%s did not end in %v", n.name, patience)
		return 0
	}
}

// submit submits n workers. The names of the tasks begin with prefix.
func (c *cluster) submit(t *testing.T, prefix string, n int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		task, err := koalemos.NewTask(fmt.Sprintf("%s/%d", prefix, i), self, workerArg, c.work)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.client.SubmitTask(t.Context(), task); err != nil {
			t.Fatal(err)
		}
	}
}

// ctl runs koalemosctl.
func (c *cluster) ctl(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	args = append([]string{"-etcd", c.endpoint, "-namespace", namespace}, args...)
	return koalemosctl(t, c.programs, args...)
}

// koalemosctl runs it. The error has what it says on stderr.
func koalemosctl(t *testing.T, programs string, args ...string) (stdout string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "koalemosctl"), args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%w: %s", err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}

// settle waits until n workers run, each on the node that owns it and all on
// the given nodes, and returns what has run where.
func (c *cluster) settle(t *testing.T, n int, nodes ...string) journal {
	t.Helper()
	var j journal
	eventually(t, fmt.Sprintf("%d tasks run on %v", n, nodes), func() bool {
		j = readJournal(t, c.work)
		if len(j.on(nodes...)) != n {
			return false
		}
		infos, err := c.client.Tasks(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range infos {
			if info.Owner != j.last(info.ID) {
				return false
			}
		}
		return len(infos) == n
	})
	return j
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in %v: %s", patience, what)
		}
	}
}
