package metafora

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// running is a task that this node has claimed, from the claim until its handler
// has returned and the claim is settled.
type running struct {
	task    Task
	claim   Claim
	ctx     context.Context
	cancel  context.CancelCauseFunc
	started time.Time

	// Guarded by the Consumer's mutex.
	handler  Handler // nil until the HandlerFunc has made it
	stopped  time.Time
	lost     time.Time
	stops    int  // calls of Handler.Stop that are wanted
	stopper  bool // a goroutine makes them
	returned bool // the handler has
	again    Task // announced while this was here
}

// start makes a claimed task run. The caller holds the mutex.
func (c *Consumer) start(a *attempt, claim Claim, now time.Time) *running {
	r := &running{task: a.task, claim: claim, started: now, again: a.again}
	r.ctx, r.cancel = context.WithCancelCause(ContextWithClaim(c.base, claim, c.lease))
	c.running[claim.TaskID] = r
	c.kept++
	// A fresh goroutine: the stack of the one that claimed has grown, and a
	// task may idle for months.
	go c.runTask(r)
	return r
}

func (c *Consumer) runTask(r *running) {
	done := c.runHandler(r)
	c.end(r, done)
}

// runHandler runs a handler and turns its panic into an event.
func (c *Consumer) runHandler(r *running) (done bool) {
	defer func() {
		if p := recover(); p != nil {
			c.panicked(r, p)
			done = true
		}
	}()
	c.makeHandler(r)
	return r.handler.Run(r.ctx)
}

// makeHandler calls the HandlerFunc, and Stop if that was wanted before there
// was a handler.
func (c *Consumer) makeHandler(r *running) {
	h := c.handler(r.task)
	if h == nil {
		panic("metafora: the HandlerFunc returned nil")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r.handler = h
	c.callStop(r)
}

func (c *Consumer) panicked(r *running, p any) {
	err := fmt.Errorf("task %q: panic: %v\n%s", r.claim.TaskID, p, debug.Stack())
	c.log.Error("handler panicked, its task counts as done", "task", r.claim.TaskID, "panic", p, "stack", string(debug.Stack()))
	c.observe(Event{Kind: EventPanicked, TaskID: r.claim.TaskID, Err: err})
}

// end settles the claim of a task whose handler has returned. It stays out of
// runTask's frame, which lives as long as the task.
//
//go:noinline
func (c *Consumer) end(r *running, done bool) {
	now := time.Now()
	c.mu.Lock()
	r.returned = true
	if !c.gone {
		c.ends.Add(1)
		defer c.ends.Done()
	}
	c.mu.Unlock()
	kind, settled := EventReleased, false
	if done {
		kind = EventDone
		settled = c.settle(c.coord.Done, r.claim, "done")
	} else {
		settled = c.settle(c.coord.Release, r.claim, "release")
	}
	r.cancel(nil)

	c.mu.Lock()
	delete(c.running, r.claim.TaskID)
	if r.keeps() {
		c.kept--
	}
	if !done && settled {
		c.released[r.claim.TaskID] = time.Now().Add(c.reclaimDelay)
	}
	if r.again != nil {
		c.again = append(c.again, candidate{task: r.again, seen: time.Now()})
	}
	c.mu.Unlock()
	if settled {
		c.log.Debug("task ended", "task", r.claim.TaskID, "fence", r.claim.Fence, "how", kind)
		c.observe(Event{Kind: kind, TaskID: r.claim.TaskID, Took: now.Sub(r.started)})
	}
	c.signal(c.kick)
}

// keeps reports whether this node means to keep the task.
func (r *running) keeps() bool { return r.stopped.IsZero() && r.lost.IsZero() }

// lost ends the context of a handler whose claim is lost, before all else.
func (c *Consumer) lost(claim Claim, cause error) {
	now := time.Now()
	c.mu.Lock()
	r := c.running[claim.TaskID]
	if r == nil || r.claim != claim {
		if a := c.claiming[claim.TaskID]; a != nil {
			a.lost = append(a.lost, claim)
		}
		c.mu.Unlock()
		return
	}
	if r.keeps() {
		c.kept--
	}
	r.lost = now
	c.mu.Unlock()
	r.cancel(cause)
	c.mu.Lock()
	r.stops++
	c.callStop(r)
	c.mu.Unlock()
	c.log.Warn("claim lost", "task", claim.TaskID, "fence", claim.Fence, "cause", cause)
	c.observe(Event{Kind: EventLost, TaskID: claim.TaskID, Took: now.Sub(r.started), Err: cause})
}

// stopTask asks the handler of a task to return; again says to ask even one that
// was asked before. It reports whether it did.
func (c *Consumer) stopTask(id string, again bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.running[id]
	if r == nil || r.returned || !r.stopped.IsZero() && !again {
		return false
	}
	if r.keeps() {
		c.kept--
	}
	if r.stopped.IsZero() {
		r.stopped = time.Now()
	}
	r.stops++
	c.callStop(r)
	return true
}

// callStop sees to the calls of a handler's Stop that are wanted, one after the
// other. The caller holds the mutex.
func (c *Consumer) callStop(r *running) {
	if r.handler == nil || r.stops == 0 || r.stopper {
		return
	}
	r.stopper = true
	c.stoppers++
	go c.stopRepeatedly(r)
}

// stopRepeatedly has a goroutine of its own: Stop is the user's, and may block.
func (c *Consumer) stopRepeatedly(r *running) {
	c.mu.Lock()
	for r.stops > 0 && !r.returned {
		r.stops--
		c.mu.Unlock()
		c.stopHandler(r)
		c.mu.Lock()
	}
	r.stops, r.stopper = 0, false
	c.stoppers--
	c.mu.Unlock()
	c.signal(c.kick)
}

func (c *Consumer) stopHandler(r *running) {
	defer func() {
		if p := recover(); p != nil {
			c.panicked(r, p)
		}
	}()
	r.handler.Stop()
}

// stopAll asks all handlers to return.
func (c *Consumer) stopAll() {
	for _, r := range c.Tasks() {
		c.stopTask(r.ID(), true)
	}
}

// cancelAll ends the contexts of all handlers.
func (c *Consumer) cancelAll(cause error) {
	c.mu.Lock()
	cancels := make([]context.CancelCauseFunc, 0, len(c.running))
	for _, r := range c.running {
		cancels = append(cancels, r.cancel)
	}
	c.mu.Unlock()
	for _, cancel := range cancels {
		cancel(cause)
	}
}

// Tasks returns the tasks that this node has claimed, sorted by ID.
func (c *Consumer) Tasks() []RunningTask { return c.tasks(func(*running) bool { return true }) }

func (c *Consumer) tasks(want func(*running) bool) []RunningTask {
	c.mu.Lock()
	defer c.mu.Unlock()
	ts := make([]RunningTask, 0, len(c.running))
	for _, r := range c.running {
		if want(r) {
			ts = append(ts, RunningTask{
				Task: r.task, Claim: r.claim, Started: r.started,
				Stopped: r.stopped, Lost: r.lost, Handler: r.handler,
			})
		}
	}
	slices.SortFunc(ts, func(a, b RunningTask) int { return strings.Compare(a.ID(), b.ID()) })
	return ts
}
