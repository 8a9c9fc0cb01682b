package memory

import (
	"context"
	"fmt"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

var _ statemachine.Commander = (*Client)(nil)

// Send implements [statemachine.Commander].
func (cl *Client) Send(ctx context.Context, taskID string, m statemachine.Message) error {
	if err := cl.send(ctx, taskID, m); err != nil {
		return fmt.Errorf("send command to task %q: %w", taskID, err)
	}
	return nil
}

func (cl *Client) send(ctx context.Context, taskID string, m statemachine.Message) error {
	value, err := statemachine.EncodeMessage(m)
	if err != nil {
		return err
	}
	if err := cl.enter(ctx); err != nil {
		return err
	}
	defer cl.broker.unlock()
	return cl.broker.sendTask(taskID, value)
}

// pendingCommand is the newest command of a task that was not yet handled.
type pendingCommand struct {
	id    uint64
	value []byte
}

func (b *Broker) sendTask(id string, value []byte) error {
	t := b.tasks[id]
	if t == nil {
		return metafora.ErrNoTask
	}
	t.command = &pendingCommand{id: b.write(), value: value}
	if o := t.owner; o != nil && o.lease.holder.link == connected {
		o.deliverCommand()
	}
	return nil
}

// deliverCommand gives the pending command to the listener, if there are both.
// The node of the claim can be reached.
func (o *ownership) deliverCommand() {
	t := o.task
	if t.command == nil || o.listener == nil {
		return
	}
	m, err := statemachine.DecodeMessage(t.command.value)
	if err != nil {
		// Nobody can handle it, so that it would be pending for ever.
		t.command = nil
		c := o.lease.holder
		c.later(func() {
			c.opts.logger.Error("malformed command dropped", "task", t.id, "node", c.name, "error", err)
		})
		return
	}
	o.listener.deliver(statemachine.Command{ID: t.command.id, Message: m})
}

// CommandListener returns the listener for the commands of this node's tasks.
func (c *Coordinator) CommandListener() statemachine.CommandListener { return commandListener{c} }

type commandListener struct{ c *Coordinator }

// listener is one call of Listen. The broker's lock guards it.
type listener struct {
	commands chan statemachine.Command
	last     uint64 // the command delivered last
}

// deliver puts a command in the channel, in place of one not yet received. It
// does not block: under the lock nobody else sends.
func (l *listener) deliver(cmd statemachine.Command) {
	if cmd.ID <= l.last {
		return
	}
	l.last = cmd.ID
	l.drain()
	l.commands <- cmd
}

func (l *listener) drain() {
	select {
	case <-l.commands:
	default:
	}
}

// Listen implements [statemachine.CommandListener].
func (cl commandListener) Listen(claim metafora.Claim) (commands <-chan statemachine.Command, stop func()) {
	c, l := cl.c, &listener{commands: make(chan statemachine.Command, 1)}
	c.broker.lock()
	defer c.broker.unlock()
	o := c.held[claim.TaskID]
	if o == nil || o.claim != claim {
		return l.commands, func() {}
	}
	o.listener = l
	if c.link == connected {
		o.deliverCommand()
	}
	return l.commands, func() { c.stopListening(o, l) }
}

// stopListening empties the channel too: what nobody received is pending still,
// and is the next listener's.
func (c *Coordinator) stopListening(o *ownership, l *listener) {
	c.broker.lock()
	defer c.broker.unlock()
	if o.listener == l {
		o.listener = nil
	}
	l.drain()
}

// Handled implements [statemachine.CommandListener].
func (cl commandListener) Handled(ctx context.Context, claim metafora.Claim, id uint64) error {
	err := cl.c.withClaim(ctx, claim, func(o *ownership) error {
		cl.c.broker.write()
		o.task.commandHandled(id)
		return nil
	})
	if err != nil {
		return fmt.Errorf("handle command of %v: %w", claim, err)
	}
	return nil
}

// commandHandled removes the pending command if it has this ID, which is never 0.
func (t *task) commandHandled(id uint64) {
	if t.command != nil && t.command.id == id {
		t.command = nil
	}
}
