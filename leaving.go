package metafora

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// maxStuckNamed limits how many tasks an error names.
const maxStuckNamed = 20

// leave gives up all tasks and leaves the cluster. abandonBroker ends the
// context of all calls to the broker but Close.
func (c *Consumer) leave(abandonBroker context.CancelFunc) error {
	drainEnd := c.drain()
	if !c.await(c.idle, time.After(time.Until(drainEnd))) {
		c.log.Warn("drain timeout passed, the contexts of handlers end", "timeout", c.opts.drainTimeout)
		c.endContexts()
		c.await(c.idle, time.After(c.opts.stuckGrace))
	}
	stuck := c.stuckHandlers()
	abandonBroker()
	closed := c.closeCoordinator()

	c.loops.Wait()
	if stuck == nil {
		c.handlers.Wait()
	} else {
		c.await(c.settled, nil)
	}
	c.log.Info("node left the cluster")
	return errors.Join(stuck, closed)
}

func (c *Consumer) closeCoordinator() error {
	if err := c.coord.Close(); err != nil {
		return fmt.Errorf("leave the cluster as %q: %w", c.coord.Name(), err)
	}
	return nil
}

// await waits until a condition, which only c.notify announces, holds or timeout
// fires, and reports whether it holds.
func (c *Consumer) await(holds func() bool, timeout <-chan time.Time) bool {
	for !holds() {
		select {
		case <-c.wake:
		case <-timeout:
			return holds()
		}
	}
	return true
}

// idle reports whether all tasks are given up and the broker knows.
func (c *Consumer) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.flights) == 0 && len(c.tasks) == 0 && len(c.stops) == 0 && !c.accepting.telling
}

// settled reports whether nothing but handlers keeps goroutines from ending.
func (c *Consumer) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.flights {
		if !f.making {
			return false
		}
	}
	return c.settling == 0
}

// stuckHandlers returns an error that names the tasks whose handlers have not
// returned from Run or Stop, or are not made yet, nil if there are none.
func (c *Consumer) stuckHandlers() error {
	var ids []string
	c.mu.Lock()
	for _, r := range c.sortedTasks() {
		ids = append(ids, r.claim.TaskID)
	}
	for r := range c.stops {
		if r.returned {
			ids = append(ids, r.claim.TaskID)
		}
	}
	for id, f := range c.flights {
		if f.making {
			ids = append(ids, id)
		}
	}
	c.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	slices.Sort(ids)
	more := ""
	if len(ids) > maxStuckNamed {
		more = fmt.Sprintf(" and %d more", len(ids)-maxStuckNamed)
		ids = ids[:maxStuckNamed]
	}
	return fmt.Errorf("%w: %s%s", ErrHandlerStuck, strings.Join(ids, ", "), more)
}
