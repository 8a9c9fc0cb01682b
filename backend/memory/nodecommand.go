package memory

import (
	"context"
	"fmt"

	"github.com/metafora-go/metafora"
)

// leaveCommand puts a command behind those that a node has not yet handled.
// They are kept by its name, so that a restarted node gets them.
func (b *Broker) leaveCommand(node string, value []byte) {
	b.write()
	b.inboxes[node] = append(b.inboxes[node], value)
	for _, c := range b.cluster.named(node) {
		c.changed.fire()
	}
}

// Command implements [metafora.Coordinator].
func (c *Coordinator) Command(ctx context.Context) (metafora.Command, error) {
	value, err := c.takeCommand(ctx)
	if err != nil {
		return metafora.Command{}, fmt.Errorf("next command of node %q: %w", c.name, err)
	}
	cmd, err := metafora.DecodeCommand(value)
	if err != nil {
		return metafora.Command{}, fmt.Errorf("command of node %q dropped: %w", c.name, err)
	}
	return cmd, nil
}

// takeCommand waits for the next command and removes it from the broker. Only
// the node that has the lease on its name gets any.
func (c *Coordinator) takeCommand(ctx context.Context) ([]byte, error) {
	b := c.broker
	for {
		if err := c.enter(ctx); err != nil {
			return nil, err
		}
		inbox := b.inboxes[c.name]
		if len(inbox) == 0 || c.lease == nil || c.link != connected {
			c.waitForChange(ctx, nil)
			continue
		}
		defer b.unlock()
		b.write()
		if len(inbox) == 1 {
			delete(b.inboxes, c.name)
		} else {
			b.inboxes[c.name] = inbox[1:]
		}
		return inbox[0], nil
	}
}
