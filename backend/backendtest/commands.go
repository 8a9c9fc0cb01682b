package backendtest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/metafora-go/metafora"
)

func commandChecks() []check {
	return []check{
		{"AllReachTheNode", allCommandsReachTheNode},
		{"InOrderAndOnce", commandsArriveInOrderAndOnce},
		{"OnlyTheirNode", commandsReachOnlyTheirNode},
		{"WaitForTheNode", commandsWaitForTheNode},
		{"NotRepeatedAfterRestart", handledCommandsAreNotRepeated},
		{"KeptOverRestart", commandsAreKeptOverARestart},
		{"MalformedAreRemoved", malformedCommandsAreRemoved},
		{"ConcurrentlySubmitted", concurrentCommandsAllArrive},
		{"UnknownNode", commandsNeedALiveNode},
		{"InvalidAreRefused", invalidCommandsAreRefused},
		{"LargestReachesTheNode", largestCommandReachesTheNode},
	}
}

// wantCommand fails the check unless the node's next command is this one.
func (n *node) wantCommand(want metafora.Command) {
	n.c.t.Helper()
	got, err := n.command()
	n.c.must(fmt.Sprintf("next command of node %q", n.name), err)
	if got.Name != want.Name || !reflect.DeepEqual(got.Parameters, want.Parameters) {
		n.c.t.Fatalf("node %q got the command %+v, want %+v", n.name, got, want)
	}
}

func (c *cluster) command(node string, commands ...metafora.Command) {
	c.t.Helper()
	for _, cmd := range commands {
		c.must("submit a command", c.client.SubmitCommand(c.ctx, node, cmd))
	}
}

func allCommandsReachTheNode(c *cluster) {
	a := c.join("a", NodeOptions{})
	for _, cmd := range []metafora.Command{
		metafora.Freeze(), metafora.Unfreeze(), metafora.Balance(), metafora.Drain(),
		metafora.StopTask("a/b <&> \u2028 日本語"),
		{Name: metafora.CommandFreeze, Parameters: map[string]any{
			"text": "x", "number": 1.5, "flag": true, "none": nil, "list": []any{"a", 2.0}, "map": map[string]any{"k": "v"},
		}},
	} {
		c.command("a", cmd)
		a.wantCommand(cmd)
	}
}

// "in the order in which they were submitted; each is returned once".
func commandsArriveInOrderAndOnce(c *cluster) {
	a := c.join("a", NodeOptions{})
	var all []metafora.Command
	for _, id := range numbered("t", 25) {
		all = append(all, metafora.StopTask(id))
	}
	c.command("a", all[:15]...)
	for _, want := range all[:5] {
		a.wantCommand(want)
	}
	c.command("a", all[15:]...)
	for _, want := range all[5:] {
		a.wantCommand(want)
	}
	c.command("a", metafora.Balance())
	a.wantCommand(metafora.Balance())
}

func commandsReachOnlyTheirNode(c *cluster) {
	names := []string{"n", "n1", "n/1", "n/commands"}
	var nodes []*node
	for _, name := range names {
		nodes = append(nodes, c.join(name, NodeOptions{}))
	}
	for _, name := range names {
		c.command(name, metafora.StopTask(name))
	}
	for i, name := range names {
		nodes[i].wantCommand(metafora.StopTask(name))
		c.command(name, metafora.Freeze())
		nodes[i].wantCommand(metafora.Freeze())
	}
}

// A command that comes while nobody calls Command is not lost, and neither is
// one that comes while somebody does.
func commandsWaitForTheNode(c *cluster) {
	a := c.join("a", NodeOptions{})
	c.command("a", metafora.Freeze())
	c.grace()
	a.wantCommand(metafora.Freeze())

	var late metafora.Command
	var err error
	returned := make(chan struct{})
	c.background.Go(func() {
		defer close(returned)
		late, err = a.Command(c.ctx)
	})
	c.grace()
	c.command("a", metafora.Drain())
	receive(c, "the end of Command, which was called before there was one", returned)
	if err != nil || late.Name != metafora.CommandDrain {
		c.t.Fatalf("got the command %+v (error %v), want drain", late, err)
	}
}

// "each is returned once", also to a restarted node.
func handledCommandsAreNotRepeated(c *cluster) {
	a := c.join("a", NodeOptions{})
	c.command("a", metafora.Freeze(), metafora.StopTask("t"))
	a.wantCommand(metafora.Freeze())
	a.wantCommand(metafora.StopTask("t"))
	c.must("close", a.close())
	again := c.join("a", NodeOptions{})
	c.command("a", metafora.Balance())
	again.wantCommand(metafora.Balance())
}

// A command that was accepted is handled, if need be by the node that takes the
// name next.
func commandsAreKeptOverARestart(c *cluster) {
	a := c.join("a", NodeOptions{})
	c.command("a", metafora.Freeze(), metafora.StopTask("t"), metafora.Drain())
	a.wantCommand(metafora.Freeze())
	c.must("close", a.close())
	again := c.join("a", NodeOptions{})
	again.wantCommand(metafora.StopTask("t"))
	again.wantCommand(metafora.Drain())
}

// "One that is malformed is removed from the broker and returned as an error
// wrapping ErrInvalidCommand; Command can then be called again."
func malformedCommandsAreRemoved(c *cluster) {
	put := c.Faults.PutRawCommand
	c.need("Faults.PutRawCommand", put != nil)
	a := c.join("a", NodeOptions{})
	malformed := []string{
		"", "{", "null", "[]", `"freeze"`, "\x00\xff", `{"command":7}`, `{"command":""}`,
		`{"command":"explode"}`, `{"command":"stop_task"}`, `{"command":"stop_task","parameters":{"task_id":""}}`,
		`{"command":"freeze","parameters":{"x":"` + strings.Repeat("x", metafora.MaxCommandLen) + `"}}`,
	}
	for _, value := range malformed {
		put(c.t, "a", []byte(value))
	}
	c.command("a", metafora.Freeze())
	for _, value := range malformed[:6] {
		a.wantMalformed(value)
	}
	c.must("close", a.close())
	again := c.join("a", NodeOptions{})
	for _, value := range malformed[6:] {
		again.wantMalformed(value)
	}
	again.wantCommand(metafora.Freeze())
	put(c.t, "a", []byte("live"))
	again.wantMalformed("live")
	c.command("a", metafora.Drain())
	again.wantCommand(metafora.Drain())
}

func (n *node) wantMalformed(value string) {
	n.c.t.Helper()
	if cmd, err := n.command(); !errors.Is(err, metafora.ErrInvalidCommand) {
		n.c.t.Fatalf("the stored command %.60q: got %+v and the error %v, want one that wraps %q",
			value, cmd, err, metafora.ErrInvalidCommand)
	}
}

// Commands that are submitted at the same moment must not replace each other.
func concurrentCommandsAllArrive(c *cluster) {
	a := c.join("a", NodeOptions{})
	ids := numbered("t", 30)
	c.parallel(len(ids), func(i int) error {
		return c.client.SubmitCommand(c.ctx, "a", metafora.StopTask(ids[i]))
	})
	got := make(map[string]bool)
	for range ids {
		cmd, err := a.command()
		c.must("command", err)
		got[cmd.TaskID()] = true
	}
	if len(got) != len(ids) {
		c.t.Fatalf("%d different commands arrived, want %d", len(got), len(ids))
	}
}

// "ErrNoNode: no live node has this name".
func commandsNeedALiveNode(c *cluster) {
	a := c.join("a", NodeOptions{})
	for _, name := range []string{"ghost", "a/", "A"} {
		err := c.client.SubmitCommand(c.ctx, name, metafora.Freeze())
		c.wantError("command to a node that never was", err, metafora.ErrNoNode, name)
	}
	c.must("close", a.close())
	err := c.client.SubmitCommand(c.ctx, "a", metafora.Freeze())
	c.wantError("command to a node that has left", err, metafora.ErrNoNode, "a")
	again := c.join("a", NodeOptions{})
	c.command("a", metafora.Balance())
	again.wantCommand(metafora.Balance())
}

// [metafora.MaxCommandLen] is the length that is accepted and delivered; one byte
// more is not.
func largestCommandReachesTheNode(c *cluster) {
	a := c.join("a", NodeOptions{})
	sized := func(n int) metafora.Command {
		cmd := metafora.Command{Name: metafora.CommandFreeze, Parameters: map[string]any{"x": ""}}
		empty, err := metafora.EncodeCommand(cmd)
		c.must("encode a command", err)
		cmd.Parameters["x"] = strings.Repeat("x", n-len(empty))
		return cmd
	}
	largest := sized(metafora.MaxCommandLen)
	c.command("a", largest)
	err := c.client.SubmitCommand(c.ctx, "a", sized(metafora.MaxCommandLen+1))
	c.wantError("submit a command that is too large", err, metafora.ErrInvalidCommand, "freeze")
	a.wantCommand(largest)
}

// "ErrInvalidCommand: see Command.Validate".
func invalidCommandsAreRefused(c *cluster) {
	a := c.join("a", NodeOptions{})
	for _, cmd := range []metafora.Command{
		{},
		{Name: "explode"},
		{Name: metafora.CommandStopTask},
		metafora.StopTask("a\nb"),
		{Name: metafora.CommandFreeze, Parameters: map[string]any{"x": strings.Repeat("x", metafora.MaxCommandLen)}},
		{Name: metafora.CommandFreeze, Parameters: map[string]any{"x": func() {}}},
	} {
		if err := c.client.SubmitCommand(c.ctx, "a", cmd); !errors.Is(err, metafora.ErrInvalidCommand) {
			c.t.Errorf("submit the command %.60q: error %v, want one that wraps %q", cmd.Name, err, metafora.ErrInvalidCommand)
		}
	}
	c.command("a", metafora.Balance())
	a.wantCommand(metafora.Balance())
}
