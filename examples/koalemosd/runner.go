//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/examples/internal/koalemos"
)

// Why a command did not end by itself.
var (
	errNotRunnable = errors.New("not a program that this machine can run")
	errStopped     = errors.New("stopped")
	errKilled      = errors.New("killed by somebody else")
)

// runner runs tasks as processes.
type runner struct {
	log    hclog.Logger
	lease  metafora.LeaseHolder
	guard  *guard
	output string        // directory for output files
	kill   time.Duration // from SIGTERM to SIGKILL
	retry  time.Duration // pause before a task is given back that could not run
}

// run is the handler. A command that ended by itself is done, whatever its
// status: running it again is for whoever submitted it to decide. One that was
// asked to stop, that somebody killed, or for which this machine lacked memory or
// disk space is handed over. One that names no program would be handed round for
// ever, so it is done too.
func (r *runner) run(ctx context.Context, t metafora.Task, stop <-chan struct{}) (done bool) {
	task, ok := t.(*koalemos.Task)
	if !ok {
		r.log.Error("task is no command", "task", t.ID())
		return true
	}
	claim, _ := metafora.ClaimFromContext(ctx)
	log := r.log.With("task", task.ID(), "fence", claim.Fence)

	status, err := r.execute(ctx, stop, task, claim, log)
	switch {
	case err == nil:
		log.Info("command ended", "status", status)
		return true
	case errors.Is(err, errNotRunnable):
		log.Error("dropping a task that cannot run", "error", err)
		return true
	case errors.Is(err, errStopped):
		log.Info("command stopped, handing the task over", "status", status)
		return false
	}
	log.Error("command did not run to its end, handing the task over", "error", err, "pause", r.retry)
	pause(ctx, stop, r.retry)
	return false
}

// execute runs the command to its end and returns its exit status.
func (r *runner) execute(ctx context.Context, stop <-chan struct{}, task *koalemos.Task, claim metafora.Claim, log hclog.Logger) (status string, err error) {
	out, err := openOutput(r.output, task, claim)
	if err != nil {
		return "", err
	}
	defer out.Close()

	runtime.LockOSThread() // see startProcess
	defer runtime.UnlockOSThread()
	cmd, err := startProcess(task, environment(claim), out)
	if err != nil {
		fmt.Fprintf(out, "=== %v\n", err)
		return "", err
	}
	p := &process{cmd: cmd, log: log, kill: r.kill}
	guarded := r.guard.watch(p.group(), r.lease.LeaseDeadline())
	if guarded != nil {
		p.signal(syscall.SIGKILL) // it would outlive us, should we be killed
	}
	log.Info("command started", "command", task, "pid", cmd.Process.Pid, "output", out.Name())
	asked := p.wait(ctx, stop)
	guarded = errors.Join(guarded, r.guard.forget(p.group()))

	status = cmd.ProcessState.String()
	fmt.Fprintf(out, "=== %v: %s\n", claim, status)
	switch {
	case guarded != nil:
		return status, guarded
	case asked:
		return status, errStopped
	case killed(cmd):
		return status, errKilled
	}
	return status, nil
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

// killed tells whether a command was ended by SIGKILL: by the guard, by the
// kernel when memory ran out, by a person. No command ends itself so.
func killed(cmd *exec.Cmd) bool {
	ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL
}

func pause(ctx context.Context, stop <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-stop:
	case <-ctx.Done():
	}
}

// extendGuard keeps the guard informed of the lease until ctx ends. It returns
// an error when the guard is gone.
func (r *runner) extendGuard(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.guard.gone:
			return errors.New("the guard of the commands has ended")
		case <-tick.C:
			if err := r.guard.extend(r.lease.LeaseDeadline()); err != nil {
				return err
			}
		}
	}
}
