package metafora

// acceptance is what the other nodes should know about whether this one takes
// new tasks, and what they do know.
type acceptance struct {
	closed     bool // it takes none
	toldClosed bool
	unsure     bool // the last call failed, and may have taken effect or not
	telling    bool // a goroutine is at it
}

func (a *acceptance) told() bool { return !a.unsure && a.closed == a.toldClosed }

// setAccepting has the cluster told, in the background. When it changes faster
// than the broker answers, the latest value wins. The caller holds c.mu.
func (c *Consumer) setAccepting(accepting bool) {
	c.accepting.closed = !accepting
	if c.accepting.telling || c.accepting.told() {
		return
	}
	c.accepting.telling = true
	c.loops.Go(c.tellAccepting)
}

// tellAccepting tells the cluster until it knows. A node that shuts down does
// not insist: all will see it leave.
func (c *Consumer) tellAccepting() {
	defer c.notify()
	for failures := 0; ; {
		closed, more := c.acceptanceToTell(failures)
		if !more {
			return
		}
		err := c.coord.SetAccepting(c.brokerCtx, !closed)
		c.mu.Lock()
		c.accepting.toldClosed, c.accepting.unsure = closed, err != nil
		c.mu.Unlock()
		if err == nil {
			failures = 0
			continue
		}
		failures++
		c.log.Warn("cluster not told whether the node accepts tasks", "accepting", !closed, "failures", failures, "error", err)
		c.retry.sleep(c.runCtx, "accepting", failures)
	}
}

// acceptanceToTell returns what to tell the cluster, if anything.
func (c *Consumer) acceptanceToTell(failures int) (closed, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	givesUp := failures > 0 && c.runCtx.Err() != nil
	c.accepting.telling = !givesUp && !c.accepting.told()
	return c.accepting.closed, c.accepting.telling
}
