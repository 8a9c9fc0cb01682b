//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/metafora-go/metafora/examples/internal/koalemos"
)

// process is a command that runs, in a process group of its own.
type process struct {
	cmd  *exec.Cmd
	log  hclog.Logger
	kill time.Duration // how long SIGTERM has to work
}

// startProcess runs a command with its output in out. It must be called from
// the goroutine that will call wait, locked to its thread: Linux takes the end
// of the thread that started a process for the end of its parent.
func startProcess(task *koalemos.Task, env []string, out *os.File) (*exec.Cmd, error) {
	cmd := exec.Command(task.Args[0], task.Args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = newGroup()
	switch err := cmd.Start(); {
	case err == nil:
		return cmd, nil
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, exec.ErrDot), errors.Is(err, fs.ErrNotExist),
		errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC):
		return nil, fmt.Errorf("%w: %w", errNotRunnable, err)
	default:
		return nil, fmt.Errorf("start: %w", err)
	}
}

// group is the process group, which has the number of its first process.
func (p *process) group() int { return p.cmd.Process.Pid }

// wait returns when the command has ended, and tells whether it was asked to:
// with SIGTERM once stop is closed, with SIGKILL when that does not help in
// time or when ctx ends. What the command leaves running is killed.
func (p *process) wait(ctx context.Context, stop <-chan struct{}) (asked bool) {
	ended := make(chan struct{})
	asking := make(chan bool, 1)
	go func() { asking <- p.ask(ctx, stop, ended) }()

	// The error repeats the status that cmd.ProcessState has.
	_ = p.cmd.Wait()
	close(ended)
	asked = <-asking
	p.signal(syscall.SIGKILL)
	return asked
}

func (p *process) ask(ctx context.Context, stop, ended <-chan struct{}) bool {
	select {
	case <-ended:
		return false
	case <-ctx.Done():
		p.log.Warn("killing the command at once", "cause", context.Cause(ctx))
		p.signal(syscall.SIGKILL)
		return true
	case <-stop:
		select {
		case <-ended: // by itself, and just now
			return false
		default:
		}
		p.log.Info("asking the command to end")
		p.signal(syscall.SIGTERM)
	}
	patience := time.NewTimer(p.kill)
	defer patience.Stop()
	select {
	case <-ended:
		return true
	case <-ctx.Done():
		p.log.Warn("killing the command", "cause", context.Cause(ctx))
	case <-patience.C:
		p.log.Warn("killing the command: it did not end when asked", "waited", p.kill)
	}
	p.signal(syscall.SIGKILL)
	return true
}

func (p *process) signal(sig syscall.Signal) {
	if err := killGroup(p.group(), sig); err != nil {
		p.log.Error("the command cannot be signalled", "error", err)
	}
}
