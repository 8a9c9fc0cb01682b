package metafora

import (
	"context"
	"errors"
	"time"
)

// flight is a claim that was asked for, until it has failed or has a handler.
// Consumer.mu guards its fields once the claim is under way.
type flight struct {
	candidate
	making bool // the claim is won, the HandlerFunc is under way
	again  Task // announced meanwhile; the newest one
	// lost is the newest claim of the task that was lost meanwhile, which may
	// be the one that is just being won, and lostCause says why.
	lost      Claim
	lostCause error
}

// consider decides what to do with an announced task.
func (c *Consumer) consider(t Task) {
	id, now := t.ID(), time.Now()
	if c.takesPlace(t, id, now) {
		return
	}
	c.offer(candidate{task: t, announced: now.Sub(c.made), unasked: true})
}

// takesPlace gives t to whoever has its ID already, and reports whether there is
// such.
func (c *Consumer) takesPlace(t Task, id string, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.tasks[id]; r != nil {
		// The broker may have given up on a claim that still has a handler
		// here. Running the task twice is as wrong as forgetting it.
		r.again = t
		return true
	}
	if f := c.flights[id]; f != nil {
		f.again = t
		return true
	}
	return c.deferred.announced(t, now)
}

// reconsider takes up the deferred task that is due first. There is one: nobody
// but the main loop takes any out.
func (c *Consumer) reconsider() {
	c.mu.Lock()
	d := c.deferred.take()
	c.mu.Unlock()
	if d.task == nil {
		return
	}
	if !c.coord.Claimable(d.id) {
		// It is announced again should it become claimable.
		if c.log.IsDebug() {
			c.log.Debug("deferred task is gone or owned", "task", d.id)
		}
		return
	}
	c.offer(d.candidate)
}

// offer asks the Balancer whether to claim a task now.
func (c *Consumer) offer(cand candidate) {
	if cand.unasked {
		cand.unasked = false
		c.forget(cand.task.ID())
	}
	until, ok := c.canClaim(cand.task)
	if !ok {
		until = later(until, time.Now().Add(minDeferral))
		if c.log.IsDebug() { // for each task of the cluster, else for nothing
			c.log.Debug("task refused by the balancer", "task", cand.task.ID(), "until", until)
		}
		c.mu.Lock()
		c.deferred.add(cand, until, DeferredByBalancer)
		c.mu.Unlock()
		c.opts.observer.Refused(cand.task, until)
		return
	}
	f := &flight{candidate: cand}
	c.mu.Lock()
	c.flights[cand.task.ID()] = f
	c.keeping++
	c.mu.Unlock()
	c.handlers.Go(func() { c.claim(f) })
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// claim asks the broker for a task, and has it run if the claim is won.
func (c *Consumer) claim(f *flight) {
	asked := time.Now()
	claim, err := c.coord.Claim(c.brokerCtx, f.task)
	result := claimResult(err)
	c.opts.observer.Claimed(f.task, result, time.Since(asked))
	if result != ClaimWon {
		c.claimFailed(f, result, err)
		return
	}
	c.log.Debug("task claimed", "task", claim.TaskID, "fence", claim.Fence)
	c.startTask(f, claim)
}

func claimResult(err error) ClaimResult {
	switch {
	case err == nil:
		return ClaimWon
	case errors.Is(err, ErrClaimed):
		return ClaimLost
	case errors.Is(err, ErrNoTask):
		return ClaimGone
	}
	return ClaimFailed
}

func (c *Consumer) claimFailed(f *flight, result ClaimResult, err error) {
	id := f.task.ID()
	retry := result == ClaimFailed && !errors.Is(err, ErrClosed) && c.brokerCtx.Err() == nil
	if retry {
		f.failures++
	}
	if retry && !errors.Is(err, ErrLeaseLost) { // which is one fault, not one for each task
		c.log.Warn("claim failed", "task", id, "failures", f.failures, "error", err)
	} else {
		c.log.Debug("task not claimed", "task", id, "error", err)
	}
	defer c.notify()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.flights, id)
	c.keeping--
	now := time.Now()
	next := f.candidate
	if f.again != nil {
		next.task, next.unasked = f.again, true
	}
	switch {
	case retry:
		c.deferred.add(next, now.Add(c.retry.delay("claim "+id, int(f.failures))), DeferredByError)
	case f.again != nil:
		// The answer may be about the task as it was before.
		c.deferred.add(candidate{task: f.again, announced: now.Sub(c.made), unasked: true}, now, DeferredByRun)
	}
}

// startTask makes the handler of a claimed task and starts it.
func (c *Consumer) startTask(f *flight, claim Claim) {
	ctx, cancel := context.WithCancelCause(c.handlerCtx)
	r := &running{claimContext: claimContext{Context: ctx, claim: claim, lease: c.lease}, task: f.task, cancel: cancel}
	if !c.wanted(f, claim) {
		c.launch(f, r, verdict(false))
		return
	}
	var h Handler
	// Deferred, so that whatever the function does, even runtime.Goexit, the
	// claim is not left without a handler.
	defer func() {
		if h == nil {
			c.log.Error("handler function made no handler, which counts as done", "task", claim.TaskID)
			h = verdict(true)
		}
		c.launch(f, r, h)
	}()
	defer c.catchPanic(claim, "handler function panicked")
	h = c.newHandler(f.task)
}

// wanted reports whether there is a point in a handler for a claim just won.
func (c *Consumer) wanted(f *flight, claim Claim) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.making = !c.draining && f.lost != claim
	return f.making
}

// launch gives the place of a flight to its handler and starts it.
func (c *Consumer) launch(f *flight, r *running, h Handler) {
	now := time.Now()
	r.handler, r.started = h, now
	c.opts.observer.Running(r.claim, now.Sub(c.made)-f.announced)

	c.mu.Lock()
	delete(c.flights, r.claim.TaskID)
	c.tasks[r.claim.TaskID] = r
	r.again = f.again
	lost, cause := f.lost == r.claim, f.lostCause
	c.handlers.Add(1)
	late := c.draining && c.drainEnd.IsZero()
	if c.draining && !lost {
		c.stop(r, now)
	}
	c.mu.Unlock()

	if lost {
		c.lose(r.claim, cause)
	}
	if late {
		r.cancel(ErrStopped)
	}
	// A fresh goroutine: this one's stack has grown, and would stay so for as
	// long as the task runs.
	go c.runTask(r)
	c.notify()
}

// verdict is the Handler of a claimed task that no handler is to run.
type verdict bool

func (v verdict) Run(context.Context) bool { return bool(v) }
func (verdict) Stop()                      {}
