package metafora

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Name returns the node's name.
func (c *Consumer) Name() string { return c.coord.Name() }

// Started returns when Run was called, zero if it was not.
func (c *Consumer) Started() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.started
}

// Frozen reports whether the node neither claims nor balances: after a freeze or
// drain command, and while it shuts down.
func (c *Consumer) Frozen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frozen
}

// Draining reports whether the node is giving up all its tasks, or has: after a
// drain command, and while it shuts down.
func (c *Consumer) Draining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

// Tasks returns the tasks whose handlers run, sorted by ID.
func (c *Consumer) Tasks() []RunningTask {
	return c.runningTasks(func(*running) bool { return true })
}

// Task returns the task of an ID if its handler runs.
func (c *Consumer) Task(id string) (RunningTask, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.tasks[id]
	if r == nil || r.returned {
		return RunningTask{}, false
	}
	return r.info(), true
}

func (c *Consumer) runningTasks(include func(*running) bool) []RunningTask {
	c.mu.Lock()
	list := make([]RunningTask, 0, len(c.tasks))
	for _, r := range c.tasks {
		if !r.returned && include(r) {
			list = append(list, r.info())
		}
	}
	c.mu.Unlock()
	slices.SortFunc(list, func(a, b RunningTask) int {
		return strings.Compare(a.Claim.TaskID, b.Claim.TaskID)
	})
	return list
}

// Ignores returns the tasks that wait to be considered later, sorted by ID.
func (c *Consumer) Ignores() []Deferred {
	c.mu.Lock()
	list := c.deferred.list()
	c.mu.Unlock()
	slices.SortFunc(list, func(a, b Deferred) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// Counts tells how many tasks a Consumer has, by what it does with them.
type Counts struct {
	// Running tasks have a handler.
	Running int
	// Settling tasks had one; the broker is being told how it ended.
	Settling int
	// Claiming tasks are being claimed.
	Claiming int
	// Deferred tasks will be considered later.
	Deferred int
}

// Counts returns how many tasks there are, at little cost.
func (c *Consumer) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Counts{
		Running:  len(c.tasks) - c.settling,
		Settling: c.settling,
		Claiming: len(c.flights),
		Deferred: c.deferred.tasks,
	}
}

// String describes the node in a line.
func (c *Consumer) String() string {
	n := c.Counts()
	mode := ""
	switch {
	case c.Draining():
		mode = ", draining"
	case c.Frozen():
		mode = ", frozen"
	}
	return fmt.Sprintf("node %s: %d running, %d claiming, %d deferred%s", c.Name(), n.Running, n.Claiming, n.Deferred, mode)
}
