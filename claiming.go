package metafora

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 10 * time.Second
	// duePortion is how many due tasks the main loop takes in a row.
	duePortion = 256
)

// attempt is a claim under way.
type attempt struct {
	candidate
	lost  []Claim // whose loss was reported before the claim was known here
	again Task    // announced meanwhile
}

// hasSlot reports whether another claim may begin.
func (c *Consumer) hasSlot() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.claiming) < c.claimsInFlight
}

// reconsider takes up the tasks whose time has come. It returns when the next
// one is due, and whether there are more already.
func (c *Consumer) reconsider() (next time.Time, more bool) {
	for range duePortion {
		c.mu.Lock()
		if len(c.claiming) >= c.claimsInFlight {
			c.mu.Unlock()
			return time.Time{}, false // the end of a claim kicks
		}
		var cand candidate
		ok := len(c.again) > 0
		if ok {
			cand, c.again = c.again[0], c.again[1:]
		} else if cand, ok = c.deferred.due(time.Now()); !ok {
			next, _ = c.deferred.next()
			c.mu.Unlock()
			return next, false
		}
		c.mu.Unlock()
		if c.coord.Claimable(cand.task.ID()) {
			c.consider(cand, false)
		}
	}
	return time.Time{}, true
}

// consider claims a task, or puts it off. announced says that the Coordinator
// has just announced it.
func (c *Consumer) consider(cand candidate, announced bool) {
	id := cand.task.ID()
	now := time.Now()
	c.mu.Lock()
	if r := c.running[id]; r != nil {
		// Its handler has not returned, or its release is under way, when the
		// task is announced again: it waits for that.
		r.again = cand.task
		c.mu.Unlock()
		return
	}
	if a := c.claiming[id]; a != nil {
		a.again = cand.task
		c.mu.Unlock()
		return
	}
	if announced {
		c.deferred.remove(id)
	}
	until, left := c.released[id]
	if left && !until.After(now) {
		delete(c.released, id)
		left = false
	}
	switch {
	case c.frozen:
		c.deferred.add(cand, time.Time{}, IgnoredFrozen)
		c.mu.Unlock()
		return
	case left:
		c.deferred.add(cand, until, IgnoredReleased)
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()

	until, ok := c.askBalancer(cand.task)
	if !ok {
		c.observe(Event{Kind: EventRefused, TaskID: id})
		c.mu.Lock()
		c.deferred.add(cand, latest(until, now.Add(minDeferral)), IgnoredRefused)
		c.mu.Unlock()
		return
	}
	a := &attempt{candidate: cand}
	c.mu.Lock()
	c.claiming[id] = a
	c.mu.Unlock()
	c.wg.Go(func() { c.claim(a) })
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// askBalancer keeps a panic of the Balancer from ending the node.
func (c *Consumer) askBalancer(t Task) (until time.Time, ok bool) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("balancer panicked", "task", t.ID(), "panic", p)
			until, ok = time.Now().Add(maxBackoff), false
		}
	}()
	return c.balancer.CanClaim(t)
}

// claim carries out an attempt.
func (c *Consumer) claim(a *attempt) {
	id := a.task.ID()
	begun := time.Now()
	claim, err := c.coord.Claim(c.broker, a.task)
	now := time.Now()
	took := now.Sub(begun)

	var started *running
	var surplus bool // won, and not wanted any more
	c.mu.Lock()
	surplus = err == nil && (c.stopping || c.frozen || slices.Contains(a.lost, claim))
	if !surplus {
		delete(c.claiming, id)
	}
	switch {
	case surplus:
	case err == nil:
		started = c.start(a, claim, now)
	case c.stopping, errors.Is(err, ErrClosed):
	case errors.Is(err, ErrClaimed), errors.Is(err, ErrNoTask):
		if a.again != nil {
			c.again = append(c.again, candidate{task: a.again, seen: now})
		}
	default:
		if a.again != nil {
			a.task = a.again
		}
		a.failures++
		c.deferred.add(a.candidate, now.Add(c.jitter(backoff(a.failures))), IgnoredFailed)
	}
	c.mu.Unlock()

	switch {
	case surplus:
		c.settle(c.coord.Release, claim, "release")
		c.mu.Lock()
		delete(c.claiming, id)
		if a.again == nil {
			a.again = a.task
		}
		c.again = append(c.again, candidate{task: a.again, seen: now})
		c.mu.Unlock()
	case started != nil:
		c.observe(Event{Kind: EventClaimed, TaskID: id, Took: took})
		c.observe(Event{Kind: EventStarted, TaskID: id, Took: now.Sub(a.seen)})
	case errors.Is(err, ErrClaimed), errors.Is(err, ErrNoTask):
		c.log.Debug("claim missed", "task", id, "error", err)
		c.observe(Event{Kind: EventMissed, TaskID: id, Took: took})
	case !errors.Is(err, ErrClosed):
		c.log.Warn("claim not settled", "task", id, "error", err)
		c.observe(Event{Kind: EventClaimFailed, TaskID: id, Took: took, Err: err})
	}
	c.signal(c.kick)
}

// settle carries out a Release or a Done. It tries again while the broker fails,
// until the node leaves the cluster: a claim that is never released is run by
// nobody. It reports whether the claim was current.
func (c *Consumer) settle(do func(context.Context, Claim) error, claim Claim, what string) bool {
	for failures := 1; ; failures++ {
		err := do(c.broker, claim)
		switch {
		case err == nil:
			return true
		case errors.Is(err, ErrNotOwner), errors.Is(err, ErrClosed), c.broker.Err() != nil:
			c.log.Debug("claim ended otherwise", "task", claim.TaskID, "fence", claim.Fence, "wanted", what, "error", err)
			return false
		}
		c.log.Warn("claim not settled", "task", claim.TaskID, "fence", claim.Fence, "wanted", what, "error", err)
		t := time.NewTimer(c.jitter(backoff(failures)))
		select {
		case <-t.C:
		case <-c.broker.Done():
			t.Stop()
			return false
		}
	}
}

// backoff doubles with each failure.
func backoff(failures int) time.Duration {
	return min(minBackoff<<min(failures-1, 10), maxBackoff)
}

// balance asks the Balancer what to release.
func (c *Consumer) balance() {
	c.mu.Lock()
	now := time.Now()
	for id, until := range c.released {
		if !until.After(now) {
			delete(c.released, id)
		}
	}
	frozen := c.frozen
	c.mu.Unlock()
	if frozen {
		return
	}
	ids, err := c.askBalance()
	if err != nil {
		c.log.Error("balancer panicked", "error", err)
		return
	}
	stopped := 0
	for _, id := range ids {
		if c.stopTask(id, false) {
			stopped++
		}
	}
	c.mu.Lock()
	c.deferred.hasten(IgnoredRefused, time.Now())
	c.mu.Unlock()
	if stopped > 0 {
		c.log.Info("balancing", "released", stopped)
	}
	c.observe(Event{Kind: EventBalanced, Count: stopped})
}

func (c *Consumer) askBalance() (ids []string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return c.balancer.Balance(), nil
}
