package backendtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/metafora-go/metafora"
)

func claimChecks() []check {
	return []check{
		{"IsWhatTheBrokerSays", claimIsWhatTheBrokerSays},
		{"OneWinner", oneNodeWinsEachClaim},
		{"OfOwnedTaskIsRefused", claimOfOwnedTaskIsRefused},
		{"OfUnknownTaskIsRefused", claimOfUnknownTaskIsRefused},
		{"FenceGrows", fenceGrowsWithEachClaim},
		{"AfterDoneDoesNotResurrect", claimAfterDoneDoesNotResurrect},
		{"RacingDoneDoesNotResurrect", claimRacingDoneDoesNotResurrect},
		{"AfterDeleteDoesNotResurrect", claimAfterDeleteDoesNotResurrect},
		{"OfEarlierSubmissionIsRefused", claimOfEarlierSubmissionIsRefused},
		{"LaterMayHelp", refusedClaimMaySucceedLater},
		{"ThousandAtOnce", thousandClaimsAtOnce},
		{"EndedContextLeaksNone", claimsWhoseContextEndsAreNotLeaked},
		{"LostReplyIsSettled", claimWhoseReplyWasLostIsSettled},
	}
}

func claimIsWhatTheBrokerSays(c *cluster) {
	c.submit("t")
	a := c.join("a", NodeOptions{})
	claim := a.take("t")
	if claim.TaskID != "t" || claim.Node != "a" || claim.Fence == 0 {
		c.t.Fatalf("claim %+v, want task t, node a, and a fence", claim)
	}
	c.wantOwner(claim)
}

// Four nodes with eight goroutines each go for the same tasks: each has exactly
// one winner, who is the one that the broker names.
func oneNodeWinsEachClaim(c *cluster) {
	const goroutines = 8
	ids := numbered("t", 20)
	c.submitMany(ids)
	var nodes []*node
	for _, name := range []string{"a", "b", "c", "d"} {
		n := c.join(name, NodeOptions{})
		n.awaitTasks(0, ids)
		nodes = append(nodes, n)
	}
	claims := make([]metafora.Claim, goroutines*len(nodes)*len(ids))
	errs := c.race(len(claims), func(i int) error {
		var err error
		claims[i], err = nodes[i%len(nodes)].Claim(c.ctx, metafora.NewTask(ids[i/len(nodes)%len(ids)]))
		return err
	})
	won := make(map[string]metafora.Claim)
	for i, err := range errs {
		if err != nil {
			c.wantError("claim of a contested task", err, metafora.ErrClaimed, "t-")
			continue
		}
		if earlier, twice := won[claims[i].TaskID]; twice {
			c.t.Fatalf("two claims of one task succeeded: %v and %v", earlier, claims[i])
		}
		won[claims[i].TaskID] = claims[i]
	}
	if len(won) != len(ids) {
		c.t.Fatalf("%d of %d tasks were claimed", len(won), len(ids))
	}
	for _, id := range ids {
		c.wantOwner(won[id])
	}
}

// "ErrClaimed: the task has an owner, this node included."
func claimOfOwnedTaskIsRefused(c *cluster) {
	c.submit("t-1")
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	task := b.awaitTask(0, "t-1")
	claim := a.take("t-1")
	for _, n := range []*node{a, b} {
		_, err := n.Claim(c.ctx, task)
		c.wantError("claim by "+n.name+" of a task of a", err, metafora.ErrClaimed, "t-1")
	}
	c.wantOwner(claim)
}

func claimOfUnknownTaskIsRefused(c *cluster) {
	a := c.join("a", NodeOptions{})
	for _, id := range []string{"ghost", "gh/ost"} {
		_, err := a.Claim(c.ctx, metafora.NewTask(id))
		c.wantError("claim of a task that never was", err, metafora.ErrNoTask, id)
		c.wantGone(id)
	}
	if _, err := a.Claim(c.ctx, metafora.NewTask("")); err == nil {
		c.t.Fatal("claim of a task without an ID: no error")
	}
}

// "Fence grows with every claim of this task, also across a new submission of
// the same ID."
func fenceGrowsWithEachClaim(c *cluster) {
	c.submit("t")
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	var last metafora.Claim
	next := func(how string, n *node) metafora.Claim {
		claim := n.take("t")
		if claim.Fence <= last.Fence {
			c.t.Fatalf("%s: fence %d after fence %d", how, claim.Fence, last.Fence)
		}
		last = claim
		return claim
	}
	c.must("release", a.Release(c.ctx, next("first claim", a)))
	c.must("release", a.Release(c.ctx, next("the same node again", a)))
	c.must("release", b.Release(c.ctx, next("another node", b)))
	c.must("done", a.Done(c.ctx, next("back again", a)))
	c.submit("t")
	c.must("release", a.Release(c.ctx, next("submitted again after done", a)))
	c.resubmit("t")
	next("submitted again after delete", b)
	c.resubmit("t")
	next("submitted again while it ran", a)
}

// A claim sent late must not bring a finished task back to life.
func claimAfterDoneDoesNotResurrect(c *cluster) {
	c.submit("t-1")
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	late := b.awaitTask(0, "t-1")
	c.must("done", a.Done(c.ctx, a.take("t-1")))
	for _, n := range []*node{a, b} {
		var err error
		c.await("node "+n.name+" knows better than that the task is owned", func() bool {
			_, err = n.Claim(c.ctx, late)
			return !errors.Is(err, metafora.ErrClaimed)
		})
		c.wantError("claim by "+n.name+" of a task that is done", err, metafora.ErrNoTask, "t-1")
		c.wantGone("t-1")
	}
}

// Four nodes claim the same tasks again and again while the winners finish them:
// each task is won once, and in the end none is left.
func claimRacingDoneDoesNotResurrect(c *cluster) {
	ids := numbered("t", 50)
	c.submitMany(ids)
	var nodes []*node
	for _, name := range []string{"a", "b", "c", "d"} {
		n := c.join(name, NodeOptions{})
		n.awaitTasks(0, ids)
		nodes = append(nodes, n)
	}
	won := make([]int, len(nodes)*len(ids))
	c.parallel(len(won), func(i int) error {
		n, task := nodes[i%len(nodes)], metafora.NewTask(ids[i/len(nodes)])
		for {
			claim, err := n.Claim(c.ctx, task)
			switch {
			case errors.Is(err, metafora.ErrClaimed) && c.ctx.Err() == nil:
				time.Sleep(20 * time.Millisecond)
				continue
			case errors.Is(err, metafora.ErrNoTask):
				return nil
			case err != nil:
				return err
			}
			won[i]++
			if err := n.Done(c.ctx, claim); err != nil || won[i] > 1 {
				return err
			}
		}
	})
	for i, id := range ids {
		wins := 0
		for _, n := range won[i*len(nodes) : (i+1)*len(nodes)] {
			wins += n
		}
		if wins != 1 {
			c.t.Errorf("task %q was claimed and done %d times", id, wins)
		}
		c.wantGone(id)
	}
}

func claimAfterDeleteDoesNotResurrect(c *cluster) {
	c.submit("t-1")
	a := c.join("a", NodeOptions{})
	late := a.awaitTask(0, "t-1")
	c.must("delete", c.client.DeleteTask(c.ctx, "t-1"))
	_, err := a.Claim(c.ctx, late)
	c.wantError("claim of a deleted task", err, metafora.ErrNoTask, "t-1")
	c.wantGone("t-1")
}

// "ErrNoTask: it is gone, or was submitted anew since t was announced." The node
// knows of the new submission but cannot have announced it yet, since another
// task that nobody receives is before it.
func claimOfEarlierSubmissionIsRefused(c *cluster) {
	a := c.joinBlind("a", NodeOptions{TaskFunc: decodeJob})
	tasks := make(chan metafora.Task)
	w := a.watchInto(tasks)
	c.must("submit", c.client.SubmitTask(c.ctx, &job{id: "t-1", Text: "old"}))
	old := receive(c, "announcement of t-1", tasks)
	c.submit("in the way")
	a.awaitClaimable("in the way", true)
	c.must("delete", c.client.DeleteTask(c.ctx, "t-1"))
	c.must("submit", c.client.SubmitTask(c.ctx, &job{id: "t-1", Text: "new"}))
	c.submit("marker")
	a.awaitClaimable("marker", true)
	c.grace()

	_, err := a.Claim(c.ctx, old)
	c.wantError("claim of an earlier submission", err, metafora.ErrNoTask, "t-1")
	c.wantWaiting("t-1")

	a.note(tasks, w)
	fresh, _ := a.awaitTask(0, "t-1").(*job)
	if fresh == nil || fresh.Text != "new" {
		c.t.Fatalf("the new submission was announced as %s", jsonOf(c, fresh))
	}
	claim, err := a.Claim(c.ctx, fresh)
	c.must("claim of the new submission", err)
	c.wantOwner(claim)
}

func refusedClaimMaySucceedLater(c *cluster) {
	c.submit("t")
	a, b := c.join("a", NodeOptions{}), c.join("b", NodeOptions{})
	task := b.awaitTask(0, "t")
	held := a.take("t")
	_, err := b.Claim(c.ctx, task)
	c.wantError("claim of an owned task", err, metafora.ErrClaimed, "t")
	c.must("release", a.Release(c.ctx, held))
	c.wantOwner(b.take("t"))
}

// "safe for concurrent use": one node claims a thousand tasks at once and has
// them all, then finishes them at once.
func thousandClaimsAtOnce(c *cluster) {
	ids := numbered("t", 1000)
	c.submitMany(ids)
	a := c.join("a", NodeOptions{})
	claims := a.takeAll(ids)
	infos, err := c.client.Tasks(c.ctx)
	c.must("list tasks", err)
	if len(infos) != len(ids) {
		c.t.Fatalf("%d tasks, want %d", len(infos), len(ids))
	}
	for i, info := range infos {
		if claims[i].TaskID != info.ID || claims[i].Node != info.Owner || claims[i].Fence != info.Fence {
			c.t.Fatalf("the broker says %+v, the node holds %+v", info, claims[i])
		}
	}
	c.parallel(len(claims), func(i int) error { return a.Done(c.ctx, claims[i]) })
	infos, err = c.client.Tasks(c.ctx)
	c.must("list tasks", err)
	if len(infos) != 0 {
		c.t.Fatalf("%d tasks are left after all are done", len(infos))
	}
}

// "where its context ends first, the backend settles it in the background, so
// that no claim is leaked": a task is owned if and only if Claim said so.
func claimsWhoseContextEndsAreNotLeaked(c *cluster) {
	ids := numbered("t", 100)
	c.submitMany(ids)
	a := c.join("a", NodeOptions{})
	a.awaitTasks(0, ids)
	claims := make([]metafora.Claim, len(ids))
	errs := c.race(len(ids), func(i int) error {
		// From contexts that have ended to some that end while the broker answers.
		ctx, cancel := context.WithTimeout(c.ctx, time.Duration(i)*50*time.Microsecond)
		defer cancel()
		var err error
		claims[i], err = a.Claim(ctx, metafora.NewTask(ids[i]))
		return err
	})
	c.wantSettled(ids, claims, errs)
}

// "A write whose reply was lost is read back and settled."
func claimWhoseReplyWasLostIsSettled(c *cluster) {
	c.need("Faults.LoseReply", c.Faults.LoseReply != nil)
	c.submit("t")
	a := c.join("a", NodeOptions{})
	task := a.awaitTask(0, "t")
	c.Faults.LoseReply(c.t, "a")
	claim, err := a.Claim(c.ctx, task)
	c.wantSettled([]string{"t"}, []metafora.Claim{claim}, []error{err})
}

// wantSettled fails the check unless each task comes to be owned under its claim
// where there was no error, and to be waiting where there was one.
func (c *cluster) wantSettled(ids []string, claims []metafora.Claim, errs []error) {
	c.t.Helper()
	for i, id := range ids {
		var want metafora.TaskInfo
		if errs[i] == nil {
			want.Owner, want.Fence = claims[i].Node, claims[i].Fence
		}
		c.await(fmt.Sprintf("task %q, whose claim returned (%v, %v), is settled", id, claims[i], errs[i]), func() bool {
			info, err := c.client.Task(c.ctx, id)
			c.must("look up a task", err)
			return info.Owner == want.Owner && info.Fence == want.Fence
		})
	}
}
