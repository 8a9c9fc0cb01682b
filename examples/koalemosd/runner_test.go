//go:build unix

package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/examples/internal/koalemos"
)

// fixedLease is a lease that is good until some time.
type fixedLease time.Time

func (l fixedLease) LeaseDeadline() time.Time { return time.Time(l) }

func newRunner(t *testing.T) *runner {
	t.Helper()
	g, err := startGuard()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.close)
	return &runner{
		log:    hclog.NewNullLogger(),
		lease:  fixedLease(time.Now().Add(time.Hour)),
		guard:  g,
		output: t.TempDir(),
		kill:   time.Hour,
		retry:  time.Millisecond,
	}
}

// running is a command under a runner.
type running struct {
	cancel context.CancelCauseFunc
	stop   chan struct{}
	done   chan bool
}

func start(t *testing.T, r *runner, args ...string) *running {
	t.Helper()
	task, err := koalemos.NewTask("t", args...)
	if err != nil {
		t.Fatal(err)
	}
	claim := metafora.Claim{TaskID: "t", Node: "n", Fence: 42}
	ctx, cancel := context.WithCancelCause(metafora.ContextWithClaim(t.Context(), claim, r.lease))
	t.Cleanup(func() { cancel(nil) })
	c := &running{cancel: cancel, stop: make(chan struct{}), done: make(chan bool, 1)}
	go func() { c.done <- r.run(ctx, task, c.stop) }()
	return c
}

func (c *running) wantDone(t *testing.T, want bool) {
	t.Helper()
	select {
	case done := <-c.done:
		if done != want {
			t.Errorf("done is %v, want %v", done, want)
		}
	case <-time.After(patience):
		t.Fatalf("the handler did not return in %v", patience)
	}
}

// lifeline is a named pipe. A command that holds it open shows that it lives.
type lifeline struct{ path string }

func newLifeline(t *testing.T) *lifeline {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lifeline")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return &lifeline{path}
}

// shell is a command that holds the lifeline, in all its processes, and says so.
func (l *lifeline) shell(script string) []string {
	return []string{"sh", "-c", `exec 3>"$0"; ` + script, l.path}
}

// open waits until the command holds the lifeline and has written the word
// ready to it. The function that it returns waits until all processes that held
// it are gone.
func (l *lifeline) open(t *testing.T) (gone func()) {
	t.Helper()
	f, err := os.Open(l.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	word := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(f, word); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := f.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, f); err != nil {
			t.Fatalf("a process of the command lives on: %v", err)
		}
	}
}

func TestCommandThatEndsByItselfIsDone(t *testing.T) {
	r := newRunner(t)
	for _, script := range []string{"exit 0", "exit 3", "kill -TERM $$"} {
		start(t, r, "sh", "-c", script).wantDone(t, true)
	}
}

func TestProgramThatDoesNotExistIsDone(t *testing.T) {
	r := newRunner(t)
	for _, program := range []string{"no-such-program", "/no/such/program", os.TempDir()} {
		start(t, r, program).wantDone(t, true)
	}
}

func TestStoppedCommandIsHandedOver(t *testing.T) {
	l := newLifeline(t)
	c := start(t, newRunner(t), l.shell("sleep 1000 & echo ready >&3; wait")...)
	gone := l.open(t)
	close(c.stop)
	c.wantDone(t, false)
	gone()
}

func TestCommandThatEndsInOrderWhenStoppedIsHandedOver(t *testing.T) {
	l := newLifeline(t)
	c := start(t, newRunner(t), l.shell("trap 'exit 0' TERM; echo ready >&3; while :; do sleep 0.05; done")...)
	gone := l.open(t)
	close(c.stop)
	c.wantDone(t, false)
	gone()
}

func TestCommandThatIgnoresSIGTERMIsKilled(t *testing.T) {
	r := newRunner(t)
	r.kill = 50 * time.Millisecond
	l := newLifeline(t)
	c := start(t, r, l.shell("trap '' TERM; echo ready >&3; while :; do sleep 0.05; done")...)
	gone := l.open(t)
	close(c.stop)
	c.wantDone(t, false)
	gone()
}

func TestEndOfTheContextKillsAtOnce(t *testing.T) {
	for name, stopFirst := range map[string]bool{"running": false, "stopping": true} {
		t.Run(name, func(t *testing.T) {
			l := newLifeline(t)
			c := start(t, newRunner(t), l.shell("trap '' TERM; echo ready >&3; while :; do sleep 0.05; done")...)
			gone := l.open(t)
			if stopFirst {
				close(c.stop)
			}
			c.cancel(metafora.ErrLeaseLost)
			c.wantDone(t, false)
			gone()
		})
	}
}

func TestCommandThatSomebodyKilledIsHandedOver(t *testing.T) {
	start(t, newRunner(t), "sh", "-c", "kill -KILL $$").wantDone(t, false)
}

func TestNothingOfACommandOutlivesIt(t *testing.T) {
	l := newLifeline(t)
	c := start(t, newRunner(t), l.shell("sleep 1000 & echo ready >&3")...)
	gone := l.open(t)
	c.wantDone(t, true)
	gone()
}

func TestCommandIsKilledByTheGuard(t *testing.T) {
	r := newRunner(t)
	l := newLifeline(t)
	c := start(t, r, l.shell("sleep 1000 & echo ready >&3; wait")...)
	gone := l.open(t)
	r.guard.close() // as the kernel does when koalemosd dies
	gone()
	c.wantDone(t, false)
}

func TestCommandWithoutAGuardDoesNotRun(t *testing.T) {
	r := newRunner(t)
	r.guard.close()
	start(t, r, "sleep", "1000").wantDone(t, false)
}

func TestTaskWhoseOutputHasNoPlaceIsHandedOver(t *testing.T) {
	r := newRunner(t)
	r.output = filepath.Join(r.output, "file")
	if err := os.WriteFile(r.output, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, r, "true").wantDone(t, false)
}

func TestPauseBeforeHandingOverEndsWhenStopped(t *testing.T) {
	r := newRunner(t)
	r.retry = time.Hour
	c := start(t, r, "sh", "-c", "kill -KILL $$")
	close(c.stop)
	c.wantDone(t, false)
}

func TestOutputOfAllRunsIsKept(t *testing.T) {
	r := newRunner(t)
	for range 2 {
		start(t, r, "sh", "-c", `echo "to stdout"; echo to stderr $METAFORA_TASK $METAFORA_NODE $METAFORA_FENCE >&2; exit 3`).wantDone(t, true)
	}
	out, err := os.ReadFile(filepath.Join(r.output, "t.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"=== t@n#42: sh -c ", "\nto stdout\n", "\nto stderr t n 42\n", "\n=== t@n#42: exit status 3\n"} {
		if n := strings.Count("\n"+string(out), want); n != 2 {
			t.Errorf("%q is %d times in the output, want 2:\n%s", want, n, out)
		}
	}
}

func TestGuardThatEndsIsNoticed(t *testing.T) {
	r := newRunner(t)
	noticed := make(chan error, 1)
	go func() { noticed <- r.extendGuard(t.Context(), time.Hour) }()
	r.guard.close()
	if err := <-noticed; err == nil {
		t.Error("no error")
	}
}

func TestExtendingTheGuardEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newRunner(t).extendGuard(ctx, time.Hour); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
