package metafora

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// readCommands hands the node's commands to the main loop.
func (c *Consumer) readCommands(ctx context.Context, commands chan<- Command) {
	for failures := 0; ctx.Err() == nil; {
		cmd, err := c.coord.Command(ctx)
		switch {
		case err == nil:
			failures = 0
			select {
			case commands <- cmd:
			case <-ctx.Done():
				c.log.Warn("command came too late", "command", cmd.Name)
			}
		case errors.Is(err, ErrInvalidCommand):
			c.log.Error("dropping command", "error", err)
		case errors.Is(err, ErrClosed), ctx.Err() != nil:
			return
		default:
			failures++
			c.log.Warn("no commands for now", "error", err)
			sleep(ctx, c.jitter(backoff(failures)))
		}
	}
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// obey carries a command out.
func (c *Consumer) obey(cmd Command) {
	c.log.Info("command", "command", cmd.Name, "parameters", cmd.Parameters)
	switch cmd.Name {
	case CommandFreeze:
		c.setFrozen(true, false)
	case CommandUnfreeze:
		c.setFrozen(false, false)
	case CommandDrain:
		c.setFrozen(true, true)
		c.stopAll()
	case CommandBalance:
		c.balance()
	case CommandStopTask:
		if !c.stopTask(cmd.TaskID(), true) {
			c.log.Warn("command ignored: task does not run here", "command", cmd.Name, "task", cmd.TaskID())
		}
	default:
		c.log.Error("dropping command", "error", cmd.Validate())
	}
}

func (c *Consumer) setFrozen(frozen, draining bool) {
	c.mu.Lock()
	c.draining = frozen && (draining || c.draining)
	c.frozen = frozen
	now := time.Now()
	for _, item := range c.deferred.sorted() {
		if frozen {
			c.deferred.add(item.candidate, time.Time{}, IgnoredFrozen)
		} else {
			c.deferred.add(item.candidate, now, IgnoredRefused)
		}
	}
	c.mu.Unlock()
	c.signal(c.publish)
}

// publishAccepting tells the other nodes whether this one takes tasks, whenever
// that has changed. The latest word wins.
func (c *Consumer) publishAccepting(ctx context.Context) {
	told := true
	for failures := 0; ; {
		c.mu.Lock()
		accepting := !c.frozen && !c.stopping
		c.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		if accepting != told {
			if err := c.coord.SetAccepting(ctx, accepting); err != nil {
				failures++
				c.log.Warn("others do not know whether this node accepts tasks", "accepting", accepting, "error", err)
				sleep(ctx, c.jitter(backoff(failures)))
				continue
			}
			told, failures = accepting, 0
		}
		select {
		case <-c.publish:
		case <-ctx.Done():
		}
	}
}

// Name returns the name of the node.
func (c *Consumer) Name() string { return c.coord.Name() }

// Started returns when Run was called, the zero time before.
func (c *Consumer) Started() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.started
}

// Frozen reports whether the node claims nothing, after freeze or drain.
func (c *Consumer) Frozen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frozen
}

// Draining reports whether the node was told to release everything.
func (c *Consumer) Draining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

// Ignores returns the tasks that this node leaves alone for now, in the order in
// which they were announced.
func (c *Consumer) Ignores() []Ignored {
	c.mu.Lock()
	defer c.mu.Unlock()
	items := c.deferred.sorted()
	out := make([]Ignored, len(items))
	for i, item := range items {
		out[i] = Ignored{TaskID: item.task.ID(), Until: item.until, Reason: item.reason}
	}
	return out
}

// String tells the node's name and how busy it is.
func (c *Consumer) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	frozen := ""
	if c.frozen {
		frozen = ", frozen"
	}
	return fmt.Sprintf("node %s: %d running, %d claiming, %d ignored%s", c.coord.Name(), len(c.running), len(c.claiming), len(c.deferred.byID), frozen)
}
