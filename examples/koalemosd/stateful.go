//go:build unix

package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/examples/internal/koalemos"
	"github.com/metafora-go/metafora/statemachine"
)

// statefulRunner runs tasks as processes which can be paused, are tried again
// when they fail, and have schedules. It makes the Machines itself, where
// etcd.NewService would do for other services: it keeps processes while they are
// paused, and schedules decide in which state tasks begin.
type statefulRunner struct {
	*runner
	store    statemachine.StateStore
	listener statemachine.CommandListener
	options  []statemachine.Option
}

func newStatefulRunner(r *runner, coord statemachine.Coordinator, backoff statemachine.Backoff) *statefulRunner {
	return &statefulRunner{
		runner: r, store: coord.StateStore(), listener: coord.CommandListener(),
		options: []statemachine.Option{statemachine.WithLogger(r.log), statemachine.WithErrHandler(onError(backoff))},
	}
}

// onError has a command that failed tried again. One with a schedule goes on for
// ever, and runs at its next time at the latest.
func onError(b statemachine.Backoff) statemachine.ErrHandler {
	b.Jitter, b.Random = 0.1, rand.Float64
	limited := statemachine.BackoffErrHandler(b)
	b.Limit = 0
	endless := statemachine.BackoffErrHandler(b)
	return func(t metafora.Task, errs []statemachine.TaskError) (statemachine.Message, []statemachine.TaskError) {
		next, again := t.(*koalemos.Task).Next(time.Now())
		if !again {
			return limited(t, errs)
		}
		m, errs := endless(t, errs)
		if next.Before(m.Until) {
			m.Until = next
		}
		return m, errs
	}
}

// handler is the metafora.HandlerFunc.
func (r *statefulRunner) handler(t metafora.Task) metafora.Handler {
	task, ok := t.(*koalemos.Task)
	if !ok {
		return nil // DecodeTask makes no others
	}
	j := &job{runner: r.runner, task: task}
	j.Machine = statemachine.New(task, j.work, scheduled{r.store, task.Schedule}, r.listener, r.options...)
	return j
}

// scheduled is a StateStore in which a task without a state is one that waits for
// its time.
type scheduled struct {
	statemachine.StateStore
	koalemos.Schedule
}

// Load implements statemachine.StateStore.
func (s scheduled) Load(ctx context.Context, c metafora.Claim) (statemachine.State, error) {
	state, err := s.StateStore.Load(ctx, c)
	if errors.Is(err, statemachine.ErrNoState) {
		return s.FirstState(time.Now()), nil
	}
	return state, err
}

// job is the handler of one task: a Machine, and the process that it starts, which
// outlives a call of the StatefulHandler while it is paused.
type job struct {
	*statemachine.Machine
	*runner
	task    *koalemos.Task
	process *process // nil while there is none
	paused  bool     // whether the process is
}

// Run implements metafora.Handler. A process that is paused ends with it: no other
// node could have it go on.
func (j *job) Run(ctx context.Context) (done bool) {
	defer j.end(ctx)
	return j.Machine.Run(ctx)
}

func (j *job) end(ctx context.Context) {
	if p := j.process; p != nil && !p.hasEnded() {
		p.end(ctx)
	}
	j.process, j.paused = nil, false
}

// work is the StatefulHandler.
func (j *job) work(ctx context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
	claim, _ := metafora.ClaimFromContext(ctx)
	log := j.log.With("task", claim.TaskID, "fence", claim.Fence)
	if err := j.begin(claim, log); err != nil {
		return j.failed(ctx, commands, err, log)
	}
	var order statemachine.Message
	select {
	case <-j.process.ended:
	case <-ctx.Done():
		order = statemachine.Release()
	case order = <-commands:
	}
	if j.process.hasEnded() {
		return j.outcome(ctx, order, log)
	}
	switch order.Code {
	case statemachine.CodePause:
		j.process.signal(syscall.SIGSTOP)
		j.paused = true
		log.Info("command paused")
	case statemachine.CodeRun, statemachine.CodeCheckpoint: // so it does
	default:
		j.end(ctx)
	}
	return order
}

// begin sees to it that the process runs.
func (j *job) begin(claim metafora.Claim, log hclog.Logger) error {
	if j.process == nil {
		p, err := j.start(j.task, claim, log)
		j.process = p
		return err
	}
	if j.paused {
		j.process.signal(syscall.SIGCONT)
		j.paused = false
		log.Info("command goes on")
	}
	return nil
}

// outcome tells what follows from the end of the process. An order that came at
// the same moment counts where the task is not over anyway.
func (j *job) outcome(ctx context.Context, order statemachine.Message, log hclog.Logger) statemachine.Message {
	p := j.process
	j.process, j.paused = nil, false
	log.Info("command ended", "status", p.cmd.ProcessState)
	next, again := j.task.Next(time.Now())
	switch ended := p.cmd.ProcessState; {
	case ended.Success() && !again:
		return statemachine.Complete()
	case ctx.Err() != nil || p.unguarded != nil:
		return statemachine.Release() // the guard or its absence was the end of it
	case ends(order):
		return order
	case !ended.Success():
		return statemachine.Error(errors.New(ended.String()))
	}
	return statemachine.Sleep(next)
}

// ends tells whether a task that was given an order is not to run on here.
func ends(order statemachine.Message) bool {
	switch order.Code {
	case statemachine.CodePause, statemachine.CodeSleep, statemachine.CodeKill:
		return true
	}
	return false
}

// failed tells what follows when the process could not be started. What this
// machine lacks another may have.
func (j *job) failed(ctx context.Context, commands <-chan statemachine.Message, err error, log hclog.Logger) statemachine.Message {
	if errors.Is(err, errNotRunnable) {
		return statemachine.Error(err)
	}
	log.Error("command did not run, handing the task over", "error", err, "pause", j.retry)
	select {
	case <-time.After(j.retry):
	case <-ctx.Done():
	case order := <-commands:
		if ends(order) {
			return order
		}
	}
	return statemachine.Release()
}
