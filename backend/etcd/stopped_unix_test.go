//go:build unix

package etcd_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/backend/etcd/embedded"
)

// processEnv makes the test binary run a node, on the etcd that it names.
const processEnv = "METAFORA_TEST_NODE_ENDPOINT"

func init() {
	if endpoint := os.Getenv(processEnv); endpoint != "" {
		if err := runNodeProcess(endpoint); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

type claimAll struct{}

func (claimAll) Init(metafora.BalancerContext)            {}
func (claimAll) CanClaim(metafora.Task) (time.Time, bool) { return time.Time{}, true }
func (claimAll) Balance() []string                        { return nil }

// runNodeProcess runs a node until its standard input ends. It tells on standard
// output what it does, in order.
func runNodeProcess(endpoint string) error {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		cancel()
	}()
	cli, err := etcd.Dial(ctx, clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		return err
	}
	defer cli.Close()
	logger := hclog.New(&hclog.LoggerOptions{Output: os.Stdout, Level: hclog.Info, DisableTime: true})
	coord, err := etcd.NewCoordinator(cli, "stopped", etcd.Options{TTL: 4 * time.Second, Margin: time.Second, Logger: logger})
	if err != nil {
		return err
	}
	handler := metafora.SimpleHandler(func(ctx context.Context, _ metafora.Task, stop <-chan struct{}) bool {
		claim, _ := metafora.ClaimFromContext(ctx)
		fmt.Println("run", claim.Fence)
		select {
		case <-ctx.Done():
		case <-stop: // as one whose claim is lost is as well, once its context has ended
			if ctx.Err() == nil {
				return false
			}
		}
		fmt.Println("told", claim.Fence)
		// The last thing that a careless handler does.
		fmt.Println("done", coord.Done(context.WithoutCancel(ctx), claim))
		return false
	})
	node, err := metafora.NewConsumer(coord, handler, claimAll{})
	if err != nil {
		return err
	}
	return node.Run(ctx)
}

// A process that stood still past its lease wakes up.
func TestStoppedProcessIsToldFirst(t *testing.T) {
	t.Parallel()
	srv, err := embedded.Start(t.Context(), embedded.Config{NoFsync: true, ElectionTimeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	cli, err := srv.Client()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), processEnv+"="+srv.Endpoints()[0])
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for sc := bufio.NewScanner(stdout); sc.Scan(); {
			lines <- sc.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = stdin.Close()
		for line := range lines {
			t.Log(line)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the process: %v", err)
		}
	})
	next := func() string {
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatal("the process has ended")
			}
			t.Log(line)
			return line
		case <-ctx.Done():
			t.Fatal("the process says nothing more")
		}
		return ""
	}
	// seek skips to the line that begins with a word and returns the rest.
	seek := func(word string) string {
		for {
			if rest, ok := strings.CutPrefix(next(), word+" "); ok {
				return rest
			}
		}
	}

	if err := newClient(t, cli, "").SubmitTask(ctx, metafora.NewTask("t")); err != nil {
		t.Fatal(err)
	}
	fence := seek("run")
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	coord, err := etcd.NewCoordinator(cli, "heir", etcd.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = coord.Close() })
	lost := make(losses, 10)
	if err := coord.Init(ctx, lost); err != nil {
		t.Fatal(err)
	}
	tasks := make(chan metafora.Task)
	go func() { _ = coord.Watch(ctx, tasks) }()
	claim, err := coord.Claim(ctx, <-tasks)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// The handler's context ends before the node says so, whether it hears of
	// the new owner first or looks at its lease; when the handler's goroutine
	// gets to speak is up to the scheduler.
	line := next()
	told := line == "told "+fence
	if told {
		line = next()
	}
	if !strings.Contains(line, "lease lost") && !strings.Contains(line, "claim lost") {
		t.Errorf("the first that the node does is not to tell its handlers: %s", line)
	}
	if !told {
		seek("told")
	}
	if got := seek("done"); !strings.Contains(got, metafora.ErrNotOwner.Error()) {
		t.Errorf("Done of the old claim: %s", got)
	}
	info, err := newClient(t, cli, "").Task(ctx, "t")
	if err != nil || info.Owner != "heir" || info.Fence != claim.Fence {
		t.Errorf("the task is now %+v, %v; want it owned by heir with fence %d", info, err, claim.Fence)
	}
	if len(lost) > 0 {
		t.Errorf("the heir has lost %v", <-lost)
	}
	if old := fmt.Sprint(claim.Fence); len(old) < len(fence) || len(old) == len(fence) && old <= fence {
		t.Errorf("fence %s after %s", old, fence)
	}
}
