package backendtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
)

// cluster is what a check works with: a broker, a client of it, and the nodes
// that the check lets join.
type cluster struct {
	Broker
	t       *testing.T
	h       Harness
	ctx     context.Context
	client  metafora.Client
	journal *journal
	opened  int    // how many Coordinators were made
	missing string // what the harness lacks for this check, if anything

	callsBack bool // task commands come by ListenFunc, else by Listen

	background sync.WaitGroup // the goroutines that the check started
}

func newCluster(t *testing.T, h Harness) *cluster {
	t.Helper()
	// A call that never returns fails its check instead of hanging the suite.
	ctx, cancel := context.WithTimeout(t.Context(), 10*(h.Patience+h.Grace))
	t.Cleanup(cancel)
	return clusterOf(t, h, ctx, h.NewBroker(t))
}

func clusterOf(t *testing.T, h Harness, ctx context.Context, b Broker) *cluster {
	c := &cluster{Broker: b, t: t, h: h, ctx: ctx, client: b.NewClient(t), journal: &journal{}}
	t.Cleanup(c.reap)
	return c
}

// reap waits for the goroutines of a check whose context has ended and whose
// nodes are closed. A failed check leaves some.
func (c *cluster) reap() {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.background.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(c.h.Patience):
		c.t.Error("calls have not returned although their context ended and their node was closed")
	}
}

// need skips the check unless the harness offers what it needs.
func (c *cluster) need(what string, offered bool) {
	c.t.Helper()
	if !offered {
		c.missing = what
		c.t.Skipf("the harness does not offer %s", what)
	}
}

// shortLived returns the options of a node whose lease a check waits for.
func (c *cluster) shortLived() NodeOptions {
	return NodeOptions{TTL: c.h.TTL, Margin: c.h.Margin}
}

// await fails the check unless ok is true before the harness's patience ends.
func (c *cluster) await(what string, ok func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(c.h.Patience)
	for !ok() {
		if time.Now().After(deadline) {
			c.t.Fatalf("still not true: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// awaitEvent waits for the first event since mark that matches.
func (c *cluster) awaitEvent(mark int, what string, match func(event) bool) event {
	c.t.Helper()
	var found []event
	c.await(what, func() bool {
		found = c.journal.since(mark, match)
		return len(found) > 0
	})
	return found[0]
}

// within fails the check unless f returns before the harness's patience ends.
func (c *cluster) within(what string, f func()) {
	c.t.Helper()
	done := make(chan struct{})
	c.background.Go(func() {
		defer close(done)
		f()
	})
	select {
	case <-done:
	case <-time.After(c.h.Patience):
		c.t.Fatalf("has not returned: %s", what)
	}
}

// receive returns the next value of a channel, or fails the check when the
// harness's patience ends.
func receive[T any](c *cluster, what string, from <-chan T) T {
	c.t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(c.h.Patience):
		c.t.Fatalf("has not come: %s", what)
	}
	panic("unreachable")
}

// grace lets happen what must not happen.
func (c *cluster) grace() { time.Sleep(c.h.Grace) }

// must fails the check on an error.
func (c *cluster) must(what string, err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
}

// wantError fails the check unless err wraps target and names one of subjects;
// every error names "".
func (c *cluster) wantError(what string, err, target error, subjects ...string) {
	c.t.Helper()
	switch {
	case err == nil:
		c.t.Fatalf("%s: no error, want %q", what, target)
	case !errors.Is(err, target):
		c.t.Fatalf("%s: error %q, want one that wraps %q", what, err, target)
	case !slices.ContainsFunc(subjects, func(s string) bool { return strings.Contains(err.Error(), s) }):
		c.t.Fatalf("%s: the error %q names none of %q", what, err, subjects)
	}
}

// wantRepeated fails the check unless err is what repeating a Release or a Done
// may return: nothing, or that the claim is not current.
func (c *cluster) wantRepeated(what string, err error) {
	c.t.Helper()
	if err != nil && !errors.Is(err, metafora.ErrNotOwner) {
		c.t.Fatalf("%s: error %q, want none or one that wraps %q", what, err, metafora.ErrNotOwner)
	}
}

// submit submits plain tasks, one after the other.
func (c *cluster) submit(ids ...string) {
	c.t.Helper()
	for _, id := range ids {
		c.must(fmt.Sprintf("submit %q", id), c.client.SubmitTask(c.ctx, metafora.NewTask(id)))
	}
}

// submitMany submits plain tasks in one batch.
func (c *cluster) submitMany(ids []string) {
	c.t.Helper()
	c.must("submit a batch", c.client.SubmitTasks(c.ctx, plainTasks(ids)))
}

// resubmit deletes a task and submits it anew.
func (c *cluster) resubmit(id string) {
	c.t.Helper()
	c.must(fmt.Sprintf("delete %q", id), c.client.DeleteTask(c.ctx, id))
	c.submit(id)
}

// wantOwner fails the check unless the task exists and the broker says that cl
// is its current claim.
func (c *cluster) wantOwner(cl metafora.Claim) {
	c.t.Helper()
	info, err := c.client.Task(c.ctx, cl.TaskID)
	c.must("look up a task", err)
	if info.Owner != cl.Node || info.Fence != cl.Fence {
		c.t.Fatalf("task %q belongs to %q with fence %d, want the claim %v", cl.TaskID, info.Owner, info.Fence, cl)
	}
}

// wantWaiting fails the check unless the task exists and has no owner.
func (c *cluster) wantWaiting(id string) {
	c.t.Helper()
	info, err := c.client.Task(c.ctx, id)
	c.must("look up a task", err)
	if info.Owner != "" || info.Fence != 0 {
		c.t.Fatalf("task %q belongs to %q with fence %d, want no owner", id, info.Owner, info.Fence)
	}
}

// wantGone fails the check unless there is no such task.
func (c *cluster) wantGone(id string) {
	c.t.Helper()
	_, err := c.client.Task(c.ctx, id)
	c.wantError("look up a task that must be gone", err, metafora.ErrNoTask, id)
}

// kill ends a node as a crash does.
func (c *cluster) kill(n *node) {
	c.t.Helper()
	if c.Faults.Kill != nil {
		c.Faults.Kill(c.t, n.name)
		return
	}
	c.need("Faults.Kill or Faults.Partition", c.Faults.Partition != nil)
	c.Faults.Partition(c.t, n.name)
}

// numbered returns the IDs prefix-0000 to prefix-<n-1>.
func numbered(prefix string, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s-%04d", prefix, i)
	}
	return ids
}

func plainTasks(ids []string) []metafora.Task {
	tasks := make([]metafora.Task, len(ids))
	for i, id := range ids {
		tasks[i] = metafora.NewTask(id)
	}
	return tasks
}
