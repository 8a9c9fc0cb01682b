package metafora

import (
	"context"
	"errors"
	"runtime/debug"
	"time"
)

// running is a claimed task, from when it has a handler until the broker knows
// what became of it. There can be many, idle for long: it is kept small.
type running struct {
	claimContext // of the handler
	task         Task
	handler      Handler
	cancel       context.CancelCauseFunc
	started      time.Time

	// done is the handler's verdict, if it gave one. Its goroutine alone uses them.
	done, gaveVerdict bool

	// Consumer.mu guards these.
	stopped   instant
	lost      instant
	again     Task // announced while it ran; the newest one
	returned  bool
	stopAgain bool // Stop is to be called once more after the call under way
}

func (r *running) info() RunningTask {
	return RunningTask{
		Task:    r.task,
		Claim:   r.claim,
		Started: r.started,
		Stopped: r.stopped.time(),
		Lost:    r.lost.time(),
		Handler: r.handler,
	}
}

// instant is a time in a third of the room, as nanoseconds since 1970; 0 for none.
type instant int64

func (i instant) time() time.Time {
	if i == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(i))
}

// runTask is the goroutine of a task. As long as the handler runs, this is the
// only frame below it, so that an idle task needs the smallest of stacks.
func (c *Consumer) runTask(r *running) {
	defer c.finish(r)
	defer c.catchPanic(r.claim, "handler panicked")
	r.done = r.handler.Run(&r.claimContext)
	r.gaveVerdict = true
}

// catchPanic is deferred around calls of user code.
func (c *Consumer) catchPanic(claim Claim, what string) {
	p := recover()
	if p == nil {
		return
	}
	stack := debug.Stack()
	c.log.Error(what, "task", claim.TaskID, "fence", claim.Fence, "panic", p, "stack", string(stack))
	c.opts.observer.Panicked(claim, p, stack)
}

// finish hands a task back whose handler has returned. A handler of a claim that
// was lost has its say, too: the broker knows whether the claim is still the
// current one, and the task need not wait for the lease to end if it is.
func (c *Consumer) finish(r *running) {
	defer c.handlers.Done()
	if !r.gaveVerdict { // a panic, or runtime.Goexit
		c.log.Error("handler did not return, which counts as done", "task", r.claim.TaskID)
		r.done = true
	}
	r.cancel(nil)
	c.mu.Lock()
	r.returned = true
	c.settling++
	if r.stopped == 0 {
		c.keeping--
	}
	c.mu.Unlock()
	c.notify()

	c.opts.observer.Returned(r.claim, r.done, time.Since(r.started))
	released := c.settle(r)

	c.mu.Lock()
	delete(c.tasks, r.claim.TaskID)
	c.settling--
	now := time.Now()
	switch {
	case released:
		c.deferred.hold(r.claim.TaskID, now.Add(c.opts.reclaimDelay))
		if r.again != nil {
			c.deferred.announced(r.again, now)
		}
	case r.again != nil:
		c.deferred.add(candidate{task: r.again, announced: now.Sub(c.made), unasked: true}, now, DeferredByRun)
	}
	c.mu.Unlock()
	c.notify()
}

// settle tells the broker what became of a task, until the broker has heard it
// or the node has left. It reports whether the task was released.
func (c *Consumer) settle(r *running) (released bool) {
	handBack, what := c.coord.Release, "release"
	if r.done {
		handBack, what = c.coord.Done, "done"
	}
	id, fence := r.claim.TaskID, r.claim.Fence
	for failures := 1; c.brokerCtx.Err() == nil; failures++ {
		err := handBack(c.brokerCtx, r.claim)
		switch {
		case err == nil && r.done:
			c.log.Debug("task done", "task", id, "fence", fence)
			c.opts.observer.Done(r.claim)
			return false
		case err == nil:
			c.log.Debug("task released", "task", id, "fence", fence)
			c.opts.observer.Released(r.claim)
			return true
		case endsClaim(err):
			c.log.Debug("claim had ended already", "task", id, "fence", fence, "call", what, "error", err)
			return false
		}
		c.log.Warn("task not handed back yet", "task", id, "fence", fence, "call", what, "failures", failures, "error", err)
		c.retry.sleep(c.brokerCtx, what+" "+id, failures)
	}
	c.log.Warn("claim is left to the lease", "task", id, "fence", fence)
	return false
}

// endsClaim reports whether err says that there is nothing left to hand back.
func endsClaim(err error) bool {
	for _, final := range []error{ErrNotOwner, ErrNoTask, ErrLeaseLost, ErrClosed} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

// lose ends the context of a handler whose claim was lost. It acts at once, not
// through the main loop: the lease runs out.
func (c *Consumer) lose(claim Claim, cause error) {
	now := time.Now()
	c.mu.Lock()
	r, f := c.tasks[claim.TaskID], c.flights[claim.TaskID]
	if f != nil && claim.Fence >= f.lost.Fence {
		f.lost, f.lostCause = claim, cause
	}
	if r == nil || r.claim != claim || r.returned || r.lost != 0 {
		c.mu.Unlock()
		return
	}
	r.lost = instant(now.UnixNano())
	c.mu.Unlock()

	r.cancel(cause) // before Stop, which then finds out why it is called
	c.mu.Lock()
	c.stop(r, now)
	c.mu.Unlock()
	c.log.Warn("claim lost", "task", claim.TaskID, "fence", claim.Fence, "cause", cause)
	c.opts.observer.Lost(claim, cause)
}

// stop has a handler's Stop called. The caller holds c.mu.
func (c *Consumer) stop(r *running, now time.Time) {
	if r.returned {
		return
	}
	if r.stopped == 0 {
		r.stopped = instant(now.UnixNano())
		c.keeping--
	}
	if _, underWay := c.stops[r]; underWay {
		r.stopAgain = true
		return
	}
	c.stops[r] = struct{}{}
	c.handlers.Add(1)
	// Stop is user code, and may block.
	go c.callStop(r)
}

// callStop calls a handler's Stop. What follows is deferred, since Stop may also
// end the goroutine, as a failing test does.
func (c *Consumer) callStop(r *running) {
	defer c.stopReturned(r)
	defer c.catchPanic(r.claim, "handler's Stop panicked")
	r.handler.Stop()
}

// stopReturned has Stop called once more if that was asked for meanwhile.
func (c *Consumer) stopReturned(r *running) {
	defer c.handlers.Done()
	c.mu.Lock()
	if r.stopAgain && !r.returned {
		c.handlers.Add(1)
		go c.callStop(r)
	} else {
		delete(c.stops, r)
	}
	r.stopAgain = false
	c.mu.Unlock()
	c.notify()
}
