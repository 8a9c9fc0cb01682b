package backendtest

import (
	"fmt"
	"slices"

	"github.com/metafora-go/metafora"
)

func clientChecks() []check {
	return []check{
		{"TaskLooksUp", taskLooksATaskUp},
		{"TasksAreSorted", tasksAreListedByID},
		{"NodesAreSorted", nodesAreListedByName},
		{"DeleteWaiting", deleteRemovesAWaitingTask},
		{"DeleteRunning", deleteRemovesARunningTask},
		{"DeleteUnknown", deleteOfUnknownTaskIsRefused},
		{"DeleteConcurrently", concurrentDeletesDeleteOnce},
		{"ClientsSeeEachOther", clientsSeeEachOther},
	}
}

func taskLooksATaskUp(c *cluster) {
	j := sampleJob("t-1")
	c.must("submit", c.client.SubmitTask(c.ctx, j))
	a := c.join("a", NodeOptions{})
	want := func(owner string, fence uint64) {
		c.t.Helper()
		info, err := c.client.Task(c.ctx, "t-1")
		c.must("look up a task", err)
		if info.ID != "t-1" || info.Owner != owner || info.Fence != fence || string(info.Props) != jsonOf(c, j) {
			c.t.Fatalf("the task is %+v with the properties %s, want the owner %q, the fence %d and the properties %s",
				info, info.Props, owner, fence, jsonOf(c, j))
		}
	}
	want("", 0)
	claim := a.take("t-1")
	want("a", claim.Fence)
	c.must("release", a.Release(c.ctx, claim))
	want("", 0)
	c.must("done", a.Done(c.ctx, a.take("t-1")))
	c.wantGone("t-1")
	c.wantGone("never-was")
}

// "Tasks lists all tasks by ID."
func tasksAreListedByID(c *cluster) {
	infos, err := c.client.Tasks(c.ctx)
	c.must("list no tasks", err)
	if len(infos) != 0 {
		c.t.Fatalf("an empty broker lists %+v", infos)
	}
	ids := []string{"m", "z", "b", "a/2", "a", "Z", "a-1", "10", "9", "é"}
	c.submit(ids...)
	slices.Sort(ids)
	a := c.join("a", NodeOptions{})
	claims := map[string]metafora.Claim{"m": a.take("m"), "10": a.take("10"), "é": a.take("é")}
	infos, err = c.client.Tasks(c.ctx)
	c.must("list tasks", err)
	if got := idsOf(infos); !slices.Equal(got, ids) {
		c.t.Fatalf("listed %q, want %q", got, ids)
	}
	for _, info := range infos {
		claim := claims[info.ID] // the zero claim has no owner either
		if info.Owner != claim.Node || info.Fence != claim.Fence || string(info.Props) != "{}" {
			c.t.Errorf("task %+v with the properties %s, want the claim %v", info, info.Props, claim)
		}
	}
}

// "Nodes lists the live nodes by name."
func nodesAreListedByName(c *cluster) {
	want := func(names ...string) {
		c.t.Helper()
		nodes, err := c.client.Nodes(c.ctx)
		c.must("list nodes", err)
		if got := namesOf(nodes); !slices.Equal(got, names) {
			c.t.Fatalf("listed %q, want %q", got, names)
		}
	}
	want()
	m := c.join("m", NodeOptions{})
	want("m")
	c.join("z", NodeOptions{})
	c.join("a", NodeOptions{})
	c.open("never joined", NodeOptions{})
	want("a", "m", "z")
	c.must("close", m.close())
	want("a", "z")
}

func deleteRemovesAWaitingTask(c *cluster) {
	c.submit("t", "other")
	a := c.join("a", NodeOptions{})
	a.awaitTask(0, "t")
	c.must("delete", c.client.DeleteTask(c.ctx, "t"))
	c.wantGone("t")
	a.awaitClaimable("t", false)
	c.wantWaiting("other")
}

// "A handler that runs it loses its claim."
func deleteRemovesARunningTask(c *cluster) {
	c.submit("t", "other")
	a := c.join("a", NodeOptions{})
	claim, other := a.take("t"), a.take("other")
	c.must("delete", c.client.DeleteTask(c.ctx, "t"))
	c.wantGone("t")
	a.awaitLost(claim)
	c.wantOwner(other)
	c.submit("t")
	c.wantWaiting("t")
	if again := a.take("t"); again.Fence <= claim.Fence {
		c.t.Fatalf("fence %d after fence %d", again.Fence, claim.Fence)
	}
}

// "ErrNoTask: no such task."
func deleteOfUnknownTaskIsRefused(c *cluster) {
	c.submit("t-1")
	for _, id := range []string{"ghost", "t", "t-1/", "t-"} {
		c.wantError("delete a task that never was", c.client.DeleteTask(c.ctx, id), metafora.ErrNoTask, id)
	}
	c.wantWaiting("t-1")
	c.must("delete", c.client.DeleteTask(c.ctx, "t-1"))
	c.wantError("delete a deleted task", c.client.DeleteTask(c.ctx, "t-1"), metafora.ErrNoTask, "t-1")
}

func concurrentDeletesDeleteOnce(c *cluster) {
	c.submit("t")
	deleted := 0
	for _, err := range c.race(8, func(int) error { return c.client.DeleteTask(c.ctx, "t") }) {
		if err == nil {
			deleted++
			continue
		}
		c.wantError("concurrent delete", err, metafora.ErrNoTask, "t")
	}
	if deleted != 1 {
		c.t.Fatalf("%d deletes of one task succeeded", deleted)
	}
}

// "All methods are safe for concurrent use", and what one client was told is
// stored is seen by all others at once.
func clientsSeeEachOther(c *cluster) {
	clients := []metafora.Client{c.client, c.NewClient(c.t), c.NewClient(c.t)}
	ids := numbered("t", 60)
	c.parallel(len(ids), func(i int) error {
		if err := clients[i%3].SubmitTask(c.ctx, metafora.NewTask(ids[i])); err != nil {
			return err
		}
		if _, err := clients[(i+1)%3].Task(c.ctx, ids[i]); err != nil {
			return fmt.Errorf("another client: %w", err)
		}
		if err := clients[(i+2)%3].DeleteTask(c.ctx, ids[i]); err != nil {
			return fmt.Errorf("a third client: %w", err)
		}
		return nil
	})
}
