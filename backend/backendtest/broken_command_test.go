package backendtest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
)

func commandFlaws() []flaw {
	return []flaw{
		{
			"commands are delivered twice",
			[]string{"commands/InOrderAndOnce", "commands/AllReachTheNode"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return &commandTwice{Coordinator: c}
			}),
		},
		{
			"commands are delivered newest first",
			[]string{"commands/InOrderAndOnce"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return &newestFirst{Coordinator: c}
			}),
		},
		{
			"malformed commands are dropped in silence",
			[]string{"commands/MalformedAreRemoved"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return dropsMalformed{c} }),
		},
		{
			"a malformed command stays for ever",
			[]string{"commands/MalformedAreRemoved"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return &stuckOnMalformed{Coordinator: c}
			}),
		},
		{
			"commands may have half their length",
			[]string{"commands/LargestReachesTheNode"},
			flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return shortCommands{cl} }),
		},
		{
			"commands that waited are skipped",
			[]string{"commands/WaitForTheNode"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return skipsWaiting{c} }),
		},
		{
			"commands go by the first part of a name",
			[]string{"commands/OnlyTheirNode"},
			flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return firstPart{cl} }),
		},
		{
			"commands of the same moment replace each other",
			[]string{"commands/ConcurrentlySubmitted"},
			flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return &oneAtATime{Client: cl} }),
		},
		{
			"any command is accepted",
			[]string{"commands/InvalidAreRefused"},
			flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return acceptsAnyCommand{cl} }),
		},
		{
			"a call of Command whose context has ended takes one more",
			[]string{"contexts/EndsCommand"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return takesOneMore{c} }),
		},
		{
			"commands end with the node",
			[]string{"commands/KeptOverRestart"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return takesCommandsAlong{c} }),
		},
		{
			"handled commands are repeated to a restarted node",
			[]string{"commands/NotRepeatedAfterRestart"},
			flawedNodes(func(b *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return &repeatsCommands{Coordinator: c, b: b}
			}),
		},
	}
}

type commandTwice struct {
	*memory.Coordinator
	last *metafora.Command
}

func (c *commandTwice) Command(ctx context.Context) (metafora.Command, error) {
	if again := c.last; again != nil {
		c.last = nil
		return *again, nil
	}
	cmd, err := c.Coordinator.Command(ctx)
	if err == nil {
		c.last = &cmd
	}
	return cmd, err
}

// newestFirst takes all commands that wait and returns the last one first.
type newestFirst struct {
	*memory.Coordinator
	taken []metafora.Command
}

func (c *newestFirst) Command(ctx context.Context) (metafora.Command, error) {
	if len(c.taken) == 0 {
		cmd, err := c.Coordinator.Command(ctx)
		if err != nil {
			return cmd, err
		}
		c.taken = append(c.taken, cmd)
		c.taken = append(c.taken, waitingCommands(c.Coordinator)...)
	}
	newest := c.taken[len(c.taken)-1]
	c.taken = c.taken[:len(c.taken)-1]
	return newest, nil
}

// waitingCommands takes all commands that wait.
func waitingCommands(c *memory.Coordinator) []metafora.Command {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	var waiting []metafora.Command
	for {
		cmd, err := c.Command(ctx)
		switch {
		case err == nil:
			waiting = append(waiting, cmd)
		case !errors.Is(err, metafora.ErrInvalidCommand):
			return waiting
		}
	}
}

type dropsMalformed struct{ *memory.Coordinator }

func (c dropsMalformed) Command(ctx context.Context) (metafora.Command, error) {
	for {
		cmd, err := c.Coordinator.Command(ctx)
		if !errors.Is(err, metafora.ErrInvalidCommand) {
			return cmd, err
		}
	}
}

type stuckOnMalformed struct {
	*memory.Coordinator
	stuck error
}

func (c *stuckOnMalformed) Command(ctx context.Context) (metafora.Command, error) {
	if c.stuck != nil {
		return metafora.Command{}, c.stuck
	}
	cmd, err := c.Coordinator.Command(ctx)
	if errors.Is(err, metafora.ErrInvalidCommand) {
		c.stuck = err
	}
	return cmd, err
}

type shortCommands struct{ *memory.Client }

func (cl shortCommands) SubmitCommand(ctx context.Context, node string, cmd metafora.Command) error {
	if wire, err := metafora.EncodeCommand(cmd); err == nil && len(wire) > metafora.MaxCommandLen/2 {
		return fmt.Errorf("command to %q: %w: too long", node, metafora.ErrInvalidCommand)
	}
	return cl.Client.SubmitCommand(ctx, node, cmd)
}

type skipsWaiting struct{ *memory.Coordinator }

func (c skipsWaiting) Command(ctx context.Context) (metafora.Command, error) {
	waitingCommands(c.Coordinator)
	return c.Coordinator.Command(ctx)
}

type firstPart struct{ *memory.Client }

func (cl firstPart) SubmitCommand(ctx context.Context, node string, cmd metafora.Command) error {
	first, _, _ := strings.Cut(node, "/")
	return cl.Client.SubmitCommand(ctx, first, cmd)
}

type oneAtATime struct {
	*memory.Client
	mu sync.Mutex // held by the submit under way
}

func (cl *oneAtATime) SubmitCommand(ctx context.Context, node string, cmd metafora.Command) error {
	if !cl.mu.TryLock() {
		return nil
	}
	defer cl.mu.Unlock()
	time.Sleep(time.Millisecond)
	return cl.Client.SubmitCommand(ctx, node, cmd)
}

type acceptsAnyCommand struct{ *memory.Client }

func (cl acceptsAnyCommand) SubmitCommand(ctx context.Context, node string, cmd metafora.Command) error {
	if err := cl.Client.SubmitCommand(ctx, node, cmd); !errors.Is(err, metafora.ErrInvalidCommand) {
		return err
	}
	return nil
}

type takesOneMore struct{ *memory.Coordinator }

func (c takesOneMore) Command(ctx context.Context) (metafora.Command, error) {
	cmd, err := c.Coordinator.Command(ctx)
	if ctx.Err() != nil {
		go func() { _, _ = c.Coordinator.Command(context.WithoutCancel(ctx)) }()
	}
	return cmd, err
}

type takesCommandsAlong struct{ *memory.Coordinator }

func (c takesCommandsAlong) Close() error {
	waitingCommands(c.Coordinator)
	return c.Coordinator.Close()
}

type repeatsCommands struct {
	*memory.Coordinator
	b       *memory.Broker
	handled []metafora.Command
}

func (c *repeatsCommands) Command(ctx context.Context) (metafora.Command, error) {
	cmd, err := c.Coordinator.Command(ctx)
	if err == nil {
		c.handled = append(c.handled, cmd)
	}
	return cmd, err
}

func (c *repeatsCommands) Close() error {
	for _, cmd := range c.handled {
		if value, err := metafora.EncodeCommand(cmd); err == nil {
			c.b.PutRawCommand(c.Name(), value)
		}
	}
	c.handled = nil
	return c.Coordinator.Close()
}
