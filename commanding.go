package metafora

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// readCommands passes the node's commands to the main loop until ctx ends.
func (c *Consumer) readCommands(ctx context.Context) {
	for failures := 0; ; {
		cmd, err := c.coord.Command(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, ErrClosed):
			return
		case err == nil:
			failures = 0
			select {
			case c.commands <- cmd:
			case <-ctx.Done():
				return
			}
		case errors.Is(err, ErrInvalidCommand):
			failures = 0
			c.log.Warn("command dropped", "error", err)
		default:
			failures++
			c.log.Warn("commands cannot be read", "failures", failures, "error", err)
			c.retry.sleep(ctx, "command", failures)
		}
	}
}

func (c *Consumer) handleCommand(cmd Command) {
	if err := cmd.Validate(); err != nil {
		c.log.Warn("command dropped", "error", err)
		return
	}
	c.log.Info("command received", "command", cmd.Name, "parameters", cmd.Parameters)
	switch cmd.Name {
	case CommandFreeze:
		c.freeze()
	case CommandUnfreeze:
		c.unfreeze()
	case CommandDrain:
		c.drain()
	case CommandStopTask:
		c.stopTask(cmd.TaskID())
	case CommandBalance:
		if c.Frozen() {
			c.log.Warn("frozen node does not balance")
			return
		}
		c.balance()
	}
}

func (c *Consumer) freeze() {
	c.mu.Lock()
	c.frozen = true
	c.setAccepting(false)
	c.mu.Unlock()
}

func (c *Consumer) unfreeze() {
	c.mu.Lock()
	c.frozen, c.draining, c.drainEnd = false, false, time.Time{}
	c.setAccepting(true)
	c.mu.Unlock()
}

// drain makes the node give up all its tasks and claim no more. It returns the
// time at which the contexts of their handlers end, zero if they have.
func (c *Consumer) drain() time.Time {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.draining { // repeating it gives no more time
		c.drainEnd = now.Add(c.opts.drainTimeout)
	}
	c.frozen, c.draining = true, true
	if c.runCtx.Err() == nil || len(c.tasks)+len(c.flights) > 0 {
		// A node without tasks leaves before this could help anybody.
		c.setAccepting(false)
	}
	for _, r := range c.sortedTasks() {
		c.stop(r, now)
	}
	return c.drainEnd
}

// endContexts ends the contexts of all handlers, the drain timeout having passed.
func (c *Consumer) endContexts() {
	c.mu.Lock()
	c.drainEnd = time.Time{}
	tasks := c.sortedTasks()
	c.mu.Unlock()
	for _, r := range tasks {
		r.cancel(ErrStopped)
	}
}

// sortedTasks returns the tasks whose handlers have not returned, by ID, so that
// what is done to all of them happens in the same order each time. The caller
// holds c.mu.
func (c *Consumer) sortedTasks() []*running {
	tasks := make([]*running, 0, len(c.tasks))
	for _, r := range c.tasks {
		if !r.returned {
			tasks = append(tasks, r)
		}
	}
	slices.SortFunc(tasks, func(a, b *running) int {
		return strings.Compare(a.claim.TaskID, b.claim.TaskID)
	})
	return tasks
}

func (c *Consumer) stopTask(id string) {
	c.mu.Lock()
	r := c.tasks[id]
	runs := r != nil && !r.returned
	if runs {
		c.stop(r, time.Now())
	}
	c.mu.Unlock()
	if !runs {
		c.log.Warn("task to stop does not run here", "task", id)
	}
}
