package backendtest

import (
	"context"
	"errors"
	"time"

	"github.com/metafora-go/metafora"
)

func closeChecks() []check {
	return []check{
		{"IsIdempotent", closeIsIdempotent},
		{"Concurrently", closeMayBeCalledConcurrently},
		{"BeforeInit", closeBeforeInit},
		{"DuringInit", closeDuringInit},
		{"EndsWatch", closeEndsWatch},
		{"EndsCommand", closeEndsCommand},
		{"CallsAfterwards", callsAfterCloseSayClosed},
		{"LeavesTheCluster", closeLeavesTheCluster},
		{"ReleasesNoTask", closeReleasesNoTask},
		{"NothingIsCalledBack", nothingIsCalledBackAfterClose},
		{"UnderLoad", closeUnderLoad},
		{"EndsCallsWhileCutOff", closeEndsCallsWhileCutOff},
	}
}

func closeIsIdempotent(c *cluster) {
	a := c.join("a", NodeOptions{})
	for range 3 {
		c.must("close", a.close())
	}
}

func closeMayBeCalledConcurrently(c *cluster) {
	c.submit("t")
	a := c.join("a", NodeOptions{})
	a.take("t")
	c.parallel(8, func(int) error { return a.Close() })
}

// "may be called at any time".
func closeBeforeInit(c *cluster) {
	a := c.open("node-a", NodeOptions{})
	c.must("close before Init", a.close())
	c.wantError("init after Close", a.init(), metafora.ErrClosed, "node-a")
	if nodes, err := c.client.Nodes(c.ctx); err != nil || len(nodes) != 0 {
		c.t.Fatalf("nodes are %+v (error %v), want none", nodes, err)
	}
}

// Whatever comes first, the node is not in the cluster in the end, and its name
// is free.
func closeDuringInit(c *cluster) {
	for range 20 {
		a := c.open("a", NodeOptions{})
		errs := c.race(2, func(i int) error {
			if i == 0 {
				return a.init()
			}
			return a.Close()
		})
		if errs[0] != nil && !errors.Is(errs[0], metafora.ErrClosed) {
			c.t.Fatalf("init during Close: error %v, want none or one that wraps %q", errs[0], metafora.ErrClosed)
		}
		c.must("close during Init", errs[1])
	}
	c.join("a", NodeOptions{})
}

// "and after Close was called, with an error wrapping ErrClosed": from a Watch
// that has nothing to say, and from one whose task nobody receives.
func closeEndsWatch(c *cluster) {
	idle := c.joinBlind("node-idle", NodeOptions{})
	idling := idle.watch()
	c.submit("t")
	blocked := c.joinBlind("node-blocked", NodeOptions{})
	blocking := blocked.watchInto(make(chan metafora.Task))
	idle.awaitTask(0, "t")
	blocked.awaitClaimable("t", true)
	c.must("close", idle.close())
	c.must("close", blocked.close())
	c.wantError("Watch ended by Close", idling.wait(c), metafora.ErrClosed, "node-idle")
	c.wantError("Watch ended by Close", blocking.wait(c), metafora.ErrClosed, "node-blocked")
}

func closeEndsCommand(c *cluster) {
	a := c.join("node-a", NodeOptions{})
	ended := make(chan error, 1)
	c.background.Go(func() {
		_, err := a.Command(c.ctx)
		ended <- err
	})
	c.grace()
	c.must("close", a.close())
	c.wantError("Command ended by Close", receive(c, "the end of Command", ended), metafora.ErrClosed, "node-a")
}

func callsAfterCloseSayClosed(c *cluster) {
	c.submit("t-1", "t-2")
	a := c.join("node-a", NodeOptions{})
	claim := a.take("t-1")
	task := a.awaitTask(0, "t-2")
	c.must("close", a.close())
	for what, call := range map[string]func() error{
		"Init":         a.init,
		"Watch":        func() error { return a.Watch(c.ctx, make(chan metafora.Task)) },
		"Claim":        func() error { _, err := a.Claim(c.ctx, task); return err },
		"Release":      func() error { return a.Release(c.ctx, claim) },
		"Done":         func() error { return a.Done(c.ctx, claim) },
		"Command":      func() error { _, err := a.Command(c.ctx); return err },
		"SetAccepting": func() error { return a.SetAccepting(c.ctx, false) },
	} {
		var err error
		c.within(what+" after Close", func() { err = call() })
		c.wantError(what+" after Close", err, metafora.ErrClosed, "node-a", "t-1", "t-2")
	}
	a.Claimable("t-2")
	c.wantOwner(claim)
	c.wantWaiting("t-2")
}

func closeLeavesTheCluster(c *cluster) {
	c.submit("t")
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	a.take("t")
	b.awaitNodes("a", "b")
	mark := c.journal.mark()
	c.must("close", a.close())
	if nodes, err := c.client.Nodes(c.ctx); err != nil || len(nodes) != 1 {
		c.t.Fatalf("nodes are %+v (error %v) right after Close, want b", nodes, err)
	}
	b.awaitNodes("b")
	c.awaitEvent(mark, "ClusterChanged when a node left", b.said(changed))
}

// "It releases no task: claims that are still held end with the lease, and are
// not reported lost."
func closeReleasesNoTask(c *cluster) {
	c.submit("t-1", "t-2")
	a, b := c.join("a", c.shortLived()), c.join("b", NodeOptions{})
	task := b.awaitTask(0, "t-1")
	claims := []metafora.Claim{a.take("t-1"), a.take("t-2")}
	b.awaitClaimable("t-1", false)
	mark := c.journal.mark()
	c.must("close", a.close())
	for _, claim := range claims {
		c.wantOwner(claim)
	}
	_, err := b.Claim(c.ctx, task)
	c.wantError("claim of a task of a closed node", err, metafora.ErrClaimed, "t-1")

	b.awaitTasks(mark, []string{"t-1", "t-2"})
	b.take("t-1")
	if e := c.journal.since(0, a.said(lost)); len(e) > 0 {
		c.t.Fatalf("Close reported %v lost", e[0].claim)
	}
}

// "A Coordinator calls none of them ... after Close returned": neither for
// changes in the cluster nor for claims that end.
func nothingIsCalledBackAfterClose(c *cluster) {
	c.submit("t-1", "t-2")
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	a.take("t-1")
	a.take("t-2")
	c.must("close", a.close())
	c.must("delete", c.client.DeleteTask(c.ctx, "t-1"))
	c.resubmit("t-2")
	b.take("t-2")
	c.join("c", NodeOptions{})
	b.awaitNodes("b", "c")
	c.grace()
	if late := a.late.Load(); late > 0 {
		c.t.Fatalf("called back %d times after Close returned", late)
	}
}

// A broker that does not answer keeps neither Close nor the calls that wait for
// it from returning.
func closeEndsCallsWhileCutOff(c *cluster) {
	c.need("Faults.Partition", c.Faults.Partition != nil)
	c.submit("t-1", "t-2", "t-3")
	a := c.join("node-a", NodeOptions{})
	released, finished := a.take("t-1"), a.take("t-2")
	task := a.awaitTask(0, "t-3")
	c.Faults.Partition(c.t, "node-a")
	a.cutOff = true
	calls := map[string]func() error{
		"Claim":        func() error { _, err := a.Claim(c.ctx, task); return err },
		"Release":      func() error { return a.Release(c.ctx, released) },
		"Done":         func() error { return a.Done(c.ctx, finished) },
		"SetAccepting": func() error { return a.SetAccepting(c.ctx, false) },
		"Command":      func() error { _, err := a.Command(c.ctx); return err },
	}
	type ending struct {
		what string
		err  error
	}
	ended := make(chan ending, len(calls))
	for what, call := range calls {
		c.background.Go(func() { ended <- ending{what, call()} })
	}
	time.Sleep(20 * time.Millisecond)
	failed := len(ended) // as calls that are cut off may
	c.within("Close of a node that is cut off", func() { _ = a.close() })
	for i := range len(calls) {
		e := receive(c, "the end of a call that waits for the broker", ended)
		if i >= failed || e.err == nil {
			c.wantError(e.what+" ended by Close", e.err, metafora.ErrClosed, "node-a", "t-1", "t-2", "t-3")
		}
	}
}

// Close while calls of all kinds are under way: all return, none with anything
// but success or what they may say.
func closeUnderLoad(c *cluster) {
	ids := numbered("t", 300)
	c.submitMany(ids)
	a := c.join("a", NodeOptions{})
	a.awaitTasks(0, ids)
	errs := c.race(len(ids)+1, func(i int) error {
		if i == len(ids)/2 {
			return a.Close()
		}
		claim, err := a.Claim(c.ctx, metafora.NewTask(ids[i%len(ids)]))
		if err == nil {
			err = a.Done(c.ctx, claim)
		}
		return err
	})
	for _, err := range errs {
		switch {
		case err == nil, errors.Is(err, metafora.ErrClosed), mayHelpLater(err):
		case errors.Is(err, context.Canceled):
			c.t.Fatalf("a call that Close ended returned %v, want an error that wraps %q", err, metafora.ErrClosed)
		default:
			c.t.Fatalf("a call during Close returned %v", err)
		}
	}
}
