package statemachine

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/metafora-go/metafora"
)

// lastWriteTimeout bounds the one write that is tried after the drain timeout:
// the claim is this node's until the Consumer releases it, which it does once
// Run has returned.
const lastWriteTimeout = time.Second

// load sets the current state to the stored one.
func (t *tenure) load(ctx context.Context) error {
	var s State
	err := t.retry(ctx, t.mail.wakeup, func(ctx context.Context) (err error) {
		s, err = t.store.Load(ctx, t.claim)
		if err == nil {
			err = s.Valid()
		}
		return err
	})
	switch {
	case err == nil:
	case errors.Is(err, ErrNoState):
		s = State{Code: Runnable, Since: utc(time.Now())}
	case errors.Is(err, ErrCorruptState), errors.Is(err, ErrInvalidState):
		// To run the task anew, or to end it, could do harm that nobody can
		// undo. The fault is not stored, so that what is there can be mended.
		t.logger.Error("stored state is corrupt, task waits for an operator", "task", t.claim.TaskID, "error", err)
		now := time.Now()
		s = State{Code: Fault, Since: utc(now), Errors: withError(nil, now, err.Error())}
	default:
		return err
	}
	t.setState(s)
	return nil
}

// commit stores the next state and removes the handled command, in one write.
// Where the state is the current one it is not written.
func (t *tenure) commit(ctx context.Context, next State, handled uint64) error {
	write := func(ctx context.Context) error { return t.store.Store(ctx, t.claim, next, handled) }
	if next.Equal(t.state) {
		if handled == 0 {
			return nil
		}
		write = func(ctx context.Context) error { return t.listener.Handled(ctx, t.claim, handled) }
	}
	// Stop does not cut this short: to lose the answer would be to do the
	// work again.
	err := t.retry(ctx, nil, write)
	if err != nil && ctx.Err() != nil && errors.Is(context.Cause(ctx), metafora.ErrStopped) {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWriteTimeout)
		defer cancel()
		err = protect(func() error { return write(last) })
	}
	if err != nil {
		return err
	}
	t.report(next)
	t.setState(next)
	return nil
}

// report logs a change of state that is now stored.
func (t *tenure) report(next State) {
	failure, failed := newError(t.state, next)
	switch {
	case failed && (next.Code == Failed || next.Code == Fault):
		t.logger.Error("task is in trouble", "task", t.claim.TaskID, "from", t.state, "to", next, "error", failure)
	case failed:
		t.logger.Warn("task met an error", "task", t.claim.TaskID, "from", t.state, "to", next, "error", failure)
	case t.logger.IsDebug(): // asked first, for the arguments cost more than the rest
		t.logger.Debug("task changed its state", "task", t.claim.TaskID, "from", t.state, "to", next)
	}
}

// newError returns the last error of next, and whether from does not have it.
func newError(from, next State) (string, bool) {
	if len(next.Errors) == 0 {
		return "", false
	}
	last := next.Errors[len(next.Errors)-1]
	return last.Error, !slices.Contains(from.Errors, last)
}

// reportFailure logs why a task is released without having its state loaded or
// stored.
func (t *tenure) reportFailure(ctx context.Context, what string, err error) {
	level := hclog.Warn
	if t.over(ctx) || errors.Is(err, metafora.ErrNotOwner) {
		level = hclog.Debug // This is how an ordinary hand-over looks.
	}
	t.logger.Log(level, what, "task", t.claim.TaskID, "fence", t.claim.Fence, "error", err)
}

// reportIgnored logs that a command had no effect.
func (t *tenure) reportIgnored(err error) {
	t.logger.Warn("command ignored", "task", t.claim.TaskID, "error", err)
}

// retry calls op until it succeeds, fails for good, or has failed as often as
// the options allow. It waits after each failure, until ctx ends or giveUp
// receives. It does not call op once ctx ended.
func (t *tenure) retry(ctx context.Context, giveUp <-chan struct{}, op func(context.Context) error) error {
	wait := t.firstWait
	for n := 1; ; n++ {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err := protect(func() error { return op(ctx) })
		if err == nil || permanent(err) {
			return err
		}
		t.logger.Debug("trying again", "task", t.claim.TaskID, "attempt", n, "wait", wait, "error", err)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-giveUp:
			n = t.attempts
		case <-ctx.Done():
		}
		timer.Stop()
		if n >= t.attempts {
			return err
		}
		wait *= 2
	}
}

// permanent reports whether an error will be the same the next time.
func permanent(err error) bool {
	for _, target := range []error{
		ErrNoState, ErrCorruptState, ErrInvalidState,
		metafora.ErrNotOwner, metafora.ErrLeaseLost, metafora.ErrNoTask, metafora.ErrClosed,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
