//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/examples/internal/koalemos"
)

// Why a command did not run, or not to its end.
var (
	errNotRunnable = errors.New("not a program that this machine can run")
	errStopped     = errors.New("stopped")
	errKilled      = errors.New("killed by somebody else")
	errNoGuard     = errors.New("nobody guards the command")
)

// process is a command that runs, in a process group of its own, with its output
// in a file. A goroutine of its own stays with it until it has ended.
type process struct {
	cmd   *exec.Cmd
	claim metafora.Claim
	out   *os.File
	guard *guard
	grace time.Duration // how long SIGTERM has to work
	log   hclog.Logger

	ended     chan struct{} // closed when nothing of the command is left
	unguarded error         // once ended is closed: why nobody guarded it
}

// start starts the command of a task.
func (r *runner) start(task *koalemos.Task, claim metafora.Claim, log hclog.Logger) (*process, error) {
	out, err := openOutput(r.output, task, claim)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(task.Args[0], task.Args[1:]...)
	cmd.Env = append(os.Environ(), environment(claim)...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = newGroup()
	p := &process{cmd: cmd, claim: claim, out: out, guard: r.guard, grace: r.kill, log: log, ended: make(chan struct{})}
	started := make(chan error)
	go p.parent(r.lease, started)
	if err := <-started; err != nil {
		return nil, err
	}
	log.Info("command started", "command", task, "pid", cmd.Process.Pid, "output", out.Name())
	return p, nil
}

// environment tells a command under which claim it runs. Commands that write to
// a store which checks fences pass METAFORA_FENCE along.
func environment(c metafora.Claim) []string {
	return []string{
		"METAFORA_TASK=" + c.TaskID,
		"METAFORA_NODE=" + c.Node,
		fmt.Sprintf("METAFORA_FENCE=%d", c.Fence),
	}
}

// parent starts the command, tells how that went, and waits until it has ended.
// What the command leaves running is killed. All of this is done on one thread:
// Linux takes the end of the thread that started a process for the end of its
// parent.
func (p *process) parent(lease metafora.LeaseHolder, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer p.out.Close()
	if err := startError(p.cmd.Start()); err != nil {
		fmt.Fprintf(p.out, "=== %v: %v\n", p.claim, err)
		started <- err
		return
	}
	p.unguarded = p.guard.watch(p.group(), lease.LeaseDeadline())
	if p.unguarded != nil {
		p.signal(syscall.SIGKILL) // it would outlive us, should we be killed
	}
	started <- nil
	_ = p.cmd.Wait() // the error repeats what cmd.ProcessState has
	p.signal(syscall.SIGKILL)
	p.unguarded = errors.Join(p.unguarded, p.guard.forget(p.group()))
	fmt.Fprintf(p.out, "=== %v: %v\n", p.claim, p.cmd.ProcessState)
	close(p.ended)
}

// startError tells errors that are the command's from those of this machine.
func startError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, exec.ErrDot), errors.Is(err, fs.ErrNotExist),
		errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("%w: %w", errNotRunnable, err)
	default:
		return fmt.Errorf("start: %w", err)
	}
}

// group is the process group, which has the number of its first process.
func (p *process) group() int { return p.cmd.Process.Pid }

// hasEnded tells whether the command has ended.
func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// result tells, once the command has ended, whether it did so by itself. One that
// was killed did not: the guard does that, the kernel when memory ran out, or a
// person. No command ends itself so.
func (p *process) result() error {
	ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case p.unguarded != nil:
		return fmt.Errorf("%w: %w", errNoGuard, p.unguarded)
	case ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL:
		return errKilled
	}
	return nil
}

// end asks the command to end, with SIGTERM, and kills it when that does not help
// in time or when ctx ends. It returns when the command has ended.
func (p *process) end(ctx context.Context) {
	if ctx.Err() != nil {
		p.kill("cause", context.Cause(ctx))
		return
	}
	p.log.Info("asking the command to end")
	p.signal(syscall.SIGTERM)
	p.signal(syscall.SIGCONT) // while it is stopped it would not notice
	patience := time.NewTimer(p.grace)
	defer patience.Stop()
	select {
	case <-p.ended:
	case <-ctx.Done():
		p.kill("cause", context.Cause(ctx))
	case <-patience.C:
		p.kill("waited", p.grace)
	}
}

// kill kills the command and returns when it has ended.
func (p *process) kill(why ...any) {
	p.log.Warn("killing the command", why...)
	p.signal(syscall.SIGKILL)
	<-p.ended
}

// signal sends a signal to all that is left of the command.
func (p *process) signal(sig syscall.Signal) {
	if err := killGroup(p.group(), sig); err != nil {
		p.log.Error("the command cannot be signalled", "error", err)
	}
}
