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
	b.changed(Change{Kind: CommandChange, ID: id, Value: value})
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
		c := o.lease.holder
		c.broker.write()
		c.broker.dropCommand(t)
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

var _ statemachine.CommandCaller = commandListener{}

// listener is one call of ListenFunc. The broker's lock guards it, and is held
// while it is called.
type listener struct {
	call func(statemachine.Command)
	last uint64 // the command delivered last
}

func (l *listener) deliver(cmd statemachine.Command) {
	if cmd.ID > l.last {
		l.last = cmd.ID
		l.call(cmd)
	}
}

// Listen implements [statemachine.CommandListener].
func (cl commandListener) Listen(claim metafora.Claim) (commands <-chan statemachine.Command, stop func()) {
	return statemachine.CommandChannel(func(deliver func(statemachine.Command)) func() {
		return cl.ListenFunc(claim, deliver)
	})
}

// ListenFunc implements [statemachine.CommandCaller].
func (cl commandListener) ListenFunc(claim metafora.Claim, deliver func(statemachine.Command)) (stop func()) {
	c, l := cl.c, &listener{call: deliver}
	c.broker.lock()
	defer c.broker.unlock()
	o := c.held[claim.TaskID]
	if o == nil || o.claim != claim {
		return func() {}
	}
	o.listener = l
	if c.link == connected {
		o.deliverCommand()
	}
	return func() { c.stopListening(o, l) }
}

func (c *Coordinator) stopListening(o *ownership, l *listener) {
	c.broker.lock()
	defer c.broker.unlock()
	if o.listener == l {
		o.listener = nil
	}
}

// Handled implements [statemachine.CommandListener].
func (cl commandListener) Handled(ctx context.Context, claim metafora.Claim, id uint64) error {
	err := cl.c.withClaim(ctx, claim, func(o *ownership) error {
		cl.c.broker.write()
		cl.c.broker.commandHandled(o.task, id)
		return nil
	})
	if err != nil {
		return fmt.Errorf("handle command of %v: %w", claim, err)
	}
	return nil
}

// commandHandled removes the pending command if it has this ID, which is never 0.
func (b *Broker) commandHandled(t *task, id uint64) {
	if t.command != nil && t.command.id == id {
		b.dropCommand(t)
	}
}

func (b *Broker) dropCommand(t *task) {
	if t.command != nil {
		t.command = nil
		b.changed(Change{Kind: CommandChange, ID: t.id, Gone: true})
	}
}
