//go:build unix

package main

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/examples/internal/koalemos"
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

// run is the handler of tasks without states. A command that ended by itself is
// done, whatever its status: running it again is for whoever submitted it to
// decide. One that was asked to stop, that somebody killed, or for which this
// machine lacked memory or disk space is handed over. One that names no program
// would be handed round for ever, so it is done too.
func (r *runner) run(ctx context.Context, t metafora.Task, stop <-chan struct{}) (done bool) {
	task, ok := t.(*koalemos.Task)
	if !ok {
		r.log.Error("task is no command", "task", t.ID())
		return true
	}
	claim, _ := metafora.ClaimFromContext(ctx)
	log := r.log.With("task", task.ID(), "fence", claim.Fence)

	p, err := r.start(task, claim, log)
	if err == nil {
		err = p.wait(ctx, stop)
	}
	switch {
	case err == nil:
		log.Info("command ended", "status", p.cmd.ProcessState)
		return true
	case errors.Is(err, errNotRunnable):
		log.Error("dropping a task that cannot run", "error", err)
		return true
	case errors.Is(err, errStopped):
		log.Info("command stopped, handing the task over", "status", p.cmd.ProcessState)
		return false
	}
	log.Error("command did not run to its end, handing the task over", "error", err, "pause", r.retry)
	pause(ctx, stop, r.retry)
	return false
}

// wait waits until the command has ended. Once stop is closed, or ctx ends, it
// sees to that.
func (p *process) wait(ctx context.Context, stop <-chan struct{}) error {
	select {
	case <-p.ended:
	case <-stop:
	case <-ctx.Done():
	}
	if !p.hasEnded() {
		p.end(ctx)
		return errStopped
	}
	return p.result()
}

// pause waits for d. It is cut short by stop or the end of ctx.
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
