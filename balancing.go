package metafora

import (
	"fmt"
	"runtime/debug"
	"time"
)

// initBalancer is the first call of the Balancer.
func (c *Consumer) initBalancer() (err error) {
	defer c.catchBalancer("Init", func(p any) { err = fmt.Errorf("init balancer: panic: %v", p) })
	c.balancer.Init(balancerContext{c})
	return nil
}

// canClaim asks the Balancer whether to claim a task now.
func (c *Consumer) canClaim(t Task) (until time.Time, ok bool) {
	defer c.catchBalancer("CanClaim", func(any) { until, ok = time.Now().Add(c.opts.balanceInterval), false })
	return c.balancer.CanClaim(t)
}

// forget tells the Balancer that a task was announced.
func (c *Consumer) forget(id string) {
	if c.forgetter == nil {
		return
	}
	defer c.catchBalancer("Forget", func(any) {})
	c.forgetter.Forget(id)
}

// tasksToRelease asks the Balancer which tasks to let go.
func (c *Consumer) tasksToRelease() (ids []string) {
	defer c.catchBalancer("Balance", func(any) { ids = nil })
	return c.balancer.Balance()
}

// catchBalancer is deferred around calls of the Balancer. A task that makes it
// panic must not bring down one node after the other.
func (c *Consumer) catchBalancer(method string, instead func(p any)) {
	if p := recover(); p != nil {
		c.log.Error("balancer panicked", "method", method, "panic", p, "stack", string(debug.Stack()))
		instead(p)
	}
}

// balance has the tasks stopped that the Balancer lets go.
func (c *Consumer) balance() {
	ids := c.tasksToRelease()
	now := time.Now()
	stopped := 0
	c.mu.Lock()
	for _, id := range ids {
		if r := c.tasks[id]; r != nil && !r.returned && r.stopped == 0 {
			c.stop(r, now)
			stopped++
		}
	}
	// What made the Balancer refuse them may have changed.
	c.deferred.hasten(now)
	c.rounds++
	c.scheduleBalance(now)
	c.mu.Unlock()
	c.log.Debug("balanced", "stopped", stopped)
	c.opts.observer.Balanced(stopped)
}

// scheduleBalance sets the time of the next regular round. The caller holds c.mu.
func (c *Consumer) scheduleBalance(now time.Time) {
	c.balanceAt = now.Add(c.jitter.around(c.opts.balanceInterval, "balance interval", c.rounds))
}

// balanceSoon brings the next round forward because the cluster changed. Changes
// that follow until then are answered by the same round.
func (c *Consumer) balanceSoon() {
	c.mu.Lock()
	soon := time.Now().Add(c.jitter.around(c.opts.balanceDelay, "balance delay", c.rounds))
	c.balanceAt = earlier(c.balanceAt, soon)
	c.mu.Unlock()
	c.notify()
}

// balancerContext is what the Balancer sees of the Consumer.
type balancerContext struct{ c *Consumer }

// Node implements [BalancerContext].
func (bc balancerContext) Node() string { return bc.c.Name() }

// Count implements [BalancerContext].
func (bc balancerContext) Count() int {
	bc.c.mu.Lock()
	defer bc.c.mu.Unlock()
	return bc.c.keeping
}

// Tasks implements [BalancerContext].
func (bc balancerContext) Tasks() []RunningTask {
	return bc.c.runningTasks(func(r *running) bool { return r.stopped == 0 })
}
