package memory

// later queues a call for when the broker's lock is free. The calls of a
// Coordinator are made one at a time, in the order in which they were queued,
// by whichever goroutine caused one.
func (c *Coordinator) later(call func()) {
	if len(c.calls) == 0 {
		c.broker.unread = append(c.broker.unread, c)
	}
	c.calls = append(c.calls, call)
}

// lose ends a claim as far as the node knows, and reports that, unless the node
// ended it before.
func (c *Coordinator) lose(o *ownership, cause error) {
	if c.held[o.claim.TaskID] != o {
		return
	}
	delete(c.held, o.claim.TaskID)
	o.lost = cause
	if !o.granted {
		return // Claim will report it.
	}
	c.later(func() { c.context.Lost(o.claim, cause) })
}

// clusterChanged reports that the cluster changed; several changes that were
// not yet reported are one.
func (c *Coordinator) clusterChanged() {
	if c.changeQueued {
		return
	}
	c.changeQueued = true
	c.later(func() {
		c.broker.mu.Lock()
		c.changeQueued = false
		c.broker.unlock()
		c.context.ClusterChanged()
	})
}

// deliver makes the queued calls, unless another goroutine is about it, or a
// caller further up the stack is: calls may call the Coordinator.
func (c *Coordinator) deliver() {
	if !c.beginDelivery() {
		return
	}
	for {
		call := c.nextCall()
		if call == nil {
			return
		}
		call()
	}
}

func (c *Coordinator) beginDelivery() bool {
	c.broker.mu.Lock()
	defer c.broker.mu.Unlock()
	if c.delivering {
		return false
	}
	c.delivering = true
	return true
}

// nextCall returns the next call to make, or ends the delivery.
func (c *Coordinator) nextCall() func() {
	c.broker.mu.Lock()
	defer c.broker.mu.Unlock()
	if len(c.calls) == 0 {
		c.delivering = false
		c.delivered.fire()
		return nil
	}
	call := c.calls[0]
	c.calls = c.calls[1:]
	return call
}

// awaitDelivery waits for a call that is being made. The queue is empty.
func (c *Coordinator) awaitDelivery() {
	for {
		c.broker.mu.Lock()
		if !c.delivering {
			c.broker.mu.Unlock()
			return
		}
		delivered := c.delivered.wait()
		c.broker.mu.Unlock()
		<-delivered
	}
}
