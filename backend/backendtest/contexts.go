package backendtest

import (
	"context"
	"time"

	"github.com/metafora-go/metafora"
)

func contextChecks() []check {
	return []check{
		{"EndsWatch", contextEndsWatch},
		{"EndsCommand", contextEndsCommand},
		{"EndsCallsWhileCutOff", contextEndsCallsWhileCutOff},
		{"EndedBefore", callsWithEndedContextsReturn},
	}
}

// "It blocks until ctx ends and returns nil then", with nothing to say, and with
// a task that nobody receives.
func contextEndsWatch(c *cluster) {
	a, b := c.joinBlind("a", NodeOptions{}), c.joinBlind("b", NodeOptions{})
	idle := a.watch()
	c.submit("t")
	a.awaitTask(0, "t")
	blocked := b.watchInto(make(chan metafora.Task))
	b.awaitClaimable("t", true)
	c.grace()
	c.must("Watch of an ended context", idle.stop(c))
	c.must("Watch of an ended context", blocked.stop(c))
}

// Command has nothing to return when its context ends, and takes nothing either.
func contextEndsCommand(c *cluster) {
	a := c.join("a", NodeOptions{})
	ctx, cancel := context.WithCancel(c.ctx)
	ended := make(chan error, 1)
	c.background.Go(func() {
		_, err := a.Command(ctx)
		ended <- err
	})
	c.grace()
	cancel()
	if receive(c, "the end of Command", ended) == nil {
		c.t.Fatal("Command of an ended context returned no error")
	}
	c.command("a", metafora.Freeze())
	c.grace() // for a call that has returned to take it
	a.wantCommand(metafora.Freeze())
}

// "Every method that takes a context returns soon after it ended", also while
// the broker does not answer; what they wrote is settled later.
func contextEndsCallsWhileCutOff(c *cluster) {
	f := c.Faults
	c.need("Faults.Partition and Heal", f.Partition != nil && f.Heal != nil)
	c.submit("t-1", "t-2", "t-3")
	a := c.join("a", NodeOptions{})
	released, finished := a.take("t-1"), a.take("t-2")
	task := a.awaitTask(0, "t-3")
	f.Partition(c.t, "a")
	var claim metafora.Claim
	var claimErr error
	calls := []func(context.Context) error{
		func(ctx context.Context) error { claim, claimErr = a.Claim(ctx, task); return claimErr },
		func(ctx context.Context) error { return a.Release(ctx, released) },
		func(ctx context.Context) error { return a.Done(ctx, finished) },
		func(ctx context.Context) error { return a.SetAccepting(ctx, false) },
		func(ctx context.Context) error { _, err := a.Command(ctx); return err },
	}
	for i, err := range c.race(len(calls), func(i int) error {
		ctx, cancel := context.WithTimeout(c.ctx, 50*time.Millisecond)
		defer cancel()
		return calls[i](ctx)
	}) {
		if err == nil {
			c.t.Errorf("call %d of a node that is cut off returned no error", i)
		}
	}
	f.Heal(c.t, "a")
	c.wantSettled([]string{"t-3"}, []metafora.Claim{claim}, []error{claimErr})
}

// Calls whose context has ended before they begin return, whatever they return.
func callsWithEndedContextsReturn(c *cluster) {
	c.submit("t-1", "t-2")
	a, b := c.join("a", NodeOptions{}), c.joinBlind("b", NodeOptions{})
	claim := a.take("t-1")
	task := a.awaitTask(0, "t-2")
	ctx, cancel := context.WithCancel(c.ctx)
	cancel()
	late := c.open("late", NodeOptions{})
	c.within("calls with an ended context", func() {
		_ = late.Init(ctx, nodeContext{late})
		_ = b.Watch(ctx, make(chan metafora.Task))
		_, _ = a.Claim(ctx, task)
		_ = a.Release(ctx, claim)
		_ = a.Done(ctx, claim)
		_, _ = a.Command(ctx)
		_ = a.SetAccepting(ctx, false)
		_ = c.client.SubmitTask(ctx, metafora.NewTask("t-3"))
		_ = c.client.SubmitTasks(ctx, plainTasks([]string{"t-4", "t-5"}))
		_ = c.client.DeleteTask(ctx, "t-4")
		_ = c.client.SubmitCommand(ctx, "a", metafora.Freeze())
		_, _ = c.client.Nodes(ctx)
		_, _ = c.client.Tasks(ctx)
		_, _ = c.client.Task(ctx, "t-1")
	})
	c.submit("alive")
	a.take("alive")
}
