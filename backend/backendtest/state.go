package backendtest

import (
	"errors"
	"fmt"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

func stateChecks() []check {
	return []check{
		{"RoundTrip", stateRoundTrips},
		{"NoneAtFirst", noStateIsStoredAtFirst},
		{"OutlivesTheClaim", stateOutlivesTheClaim},
		{"NotOfEarlierSubmission", stateOfEarlierSubmissionIsGone},
		{"OfEachTask", eachTaskHasItsState},
		{"Corrupt", corruptStateStaysUntilOverwritten},
		{"StoreOfLostClaim", storeOfLostClaimTouchesNothing},
		{"StoreOfEndedClaim", storeOfEndedClaimTouchesNothing},
		{"StoreAfterLeaseLost", storeAfterLeaseLostTouchesNothing},
		{"LoadOfLostClaim", loadOfLostClaim},
		{"ConcurrentStores", concurrentStoresKeepOne},
		{"LostReplyIsSettled", storeWhoseReplyWasLostIsSettled},
		{"HandledIsRemoved", storeRemovesTheHandledCommand},
		{"HandledOnlyIfStored", refusedStoreKeepsTheCommand},
		{"HandledUnlessReplaced", storeKeepsANewerCommand},
	}
}

// stateful is a node with its parts for stateful tasks.
type stateful struct {
	*node
	statemachine.StateStore
	statemachine.CommandListener
}

// joinStateful lets a node join that has the parts for stateful tasks.
func (c *cluster) joinStateful(name string, o NodeOptions) *stateful {
	c.t.Helper()
	c.need("NewStateStore, NewListener and NewCommander",
		c.NewStateStore != nil && c.NewListener != nil && c.NewCommander != nil)
	n := c.join(name, o)
	return &stateful{n, c.NewStateStore(c.t, n.Coordinator), c.NewListener(c.t, n.Coordinator)}
}

// wantState fails the check unless this state is stored.
func (s *stateful) wantState(claim metafora.Claim, want statemachine.State) {
	s.c.t.Helper()
	got, err := s.Load(s.c.ctx, claim)
	s.c.must("load", err)
	if !got.Equal(want) {
		s.c.t.Fatalf("the state is %+v, want %+v", got, want)
	}
}

// wantNoState fails the check unless no state is stored.
func (s *stateful) wantNoState(claim metafora.Claim) {
	s.c.t.Helper()
	_, err := s.Load(s.c.ctx, claim)
	s.c.wantError("load where no state is stored", err, statemachine.ErrNoState, claim.TaskID)
}

func (s *stateful) store(claim metafora.Claim, state statemachine.State) {
	s.c.t.Helper()
	s.c.must("store", s.Store(s.c.ctx, claim, state, 0))
}

// paused returns a state that can be told from others by its number.
func paused(n int) statemachine.State {
	return statemachine.State{Code: statemachine.Paused, Since: time.Unix(int64(n), 0).UTC()}
}

func stateRoundTrips(c *cluster) {
	c.submit("t")
	a := c.joinStateful("a", NodeOptions{})
	claim := a.take("t")
	at := time.Date(2026, 2, 28, 23, 59, 59, 999_999_999, time.UTC)
	many := statemachine.State{Code: statemachine.Fault, Since: at}
	for i := range statemachine.MaxErrors {
		text := fmt.Sprintf("error %d: <&> \u2028 \"日本語\" \n\t\\", i)
		many.Errors = append(many.Errors, statemachine.TaskError{Time: at.Add(time.Duration(i)), Error: text})
	}
	for _, state := range []statemachine.State{
		{Code: statemachine.Runnable},
		{Code: statemachine.Runnable, Since: at},
		{Code: statemachine.Sleeping, Since: at, Until: at.Add(time.Nanosecond)},
		{Code: statemachine.Sleeping, Since: at, Until: at.In(time.FixedZone("east", 9*3600))},
		many,
		{Code: statemachine.Failed, Errors: many.Errors[:1]},
		{Code: statemachine.Completed, Since: at},
		{Code: statemachine.Killed, Since: at},
	} {
		a.store(claim, state)
		a.wantState(claim, state)
	}
}

// "ErrNoState where there is none since the task was submitted".
func noStateIsStoredAtFirst(c *cluster) {
	c.submit("t-1")
	a := c.joinStateful("a", NodeOptions{})
	a.wantNoState(a.take("t-1"))
}

// A state stays with its task over release, hand-over and the owner's death.
func stateOutlivesTheClaim(c *cluster) {
	c.submit("t", "dying")
	a, b := c.joinStateful("a", c.shortLived()), c.joinStateful("b", NodeOptions{})
	first, dying := a.take("t"), a.take("dying")
	a.store(first, paused(1))
	c.must("release", a.Release(c.ctx, first))
	second := b.take("t")
	b.wantState(second, paused(1))
	b.store(second, paused(2))
	c.must("release", b.Release(c.ctx, second))
	a.wantState(a.take("t"), paused(2))

	a.store(dying, paused(3))
	mark := c.journal.mark()
	c.kill(a.node)
	b.awaitTask(mark, "dying")
	b.wantState(b.take("dying"), paused(3))
}

// "the next submission of the ID removes it", however the last one ended.
func stateOfEarlierSubmissionIsGone(c *cluster) {
	c.submit("t")
	a := c.joinStateful("a", NodeOptions{})
	for _, end := range []func(metafora.Claim){
		func(claim metafora.Claim) { c.must("done", a.Done(c.ctx, claim)) },
		func(metafora.Claim) { c.must("delete", c.client.DeleteTask(c.ctx, "t")) },
		func(claim metafora.Claim) {
			c.must("release", a.Release(c.ctx, claim))
			c.must("delete", c.client.DeleteTask(c.ctx, "t"))
		},
	} {
		claim := a.take("t")
		a.wantNoState(claim)
		a.store(claim, paused(1))
		end(claim)
		mark := c.journal.mark()
		c.must("submit in a batch", c.client.SubmitTasks(c.ctx, plainTasks([]string{"t"})))
		a.awaitTask(mark, "t")
	}
	a.wantNoState(a.take("t"))
}

func eachTaskHasItsState(c *cluster) {
	ids := append(numbered("t", 20), "x", "x/", "x/state", "state", "state/x", "..", "%2F", "/")
	c.submit(ids...)
	a := c.joinStateful("a", NodeOptions{})
	claims := a.takeAll(ids)
	c.parallel(len(ids), func(i int) error { return a.Store(c.ctx, claims[i], paused(i), 0) })
	for i, claim := range claims {
		a.wantState(claim, paused(i))
	}
}

// "It stays as it is until somebody mends or overwrites it." What is written by
// other means "is seen from the next claim on".
func corruptStateStaysUntilOverwritten(c *cluster) {
	put := c.Faults.PutRawState
	c.need("Faults.PutRawState", put != nil)
	c.submit("t-1")
	a, b := c.joinStateful("a", NodeOptions{}), c.joinStateful("b", NodeOptions{})
	for _, value := range []string{"", "{", "null", "[]", `"paused"`, "\x00\xff", "{}", `{"state":7}`, `{"state":"unheard of"}`} {
		put(c.t, "t-1", []byte(value))
		for _, n := range []*stateful{a, b} {
			claim := n.take("t-1")
			for range 2 {
				_, err := n.Load(c.ctx, claim)
				c.wantError(fmt.Sprintf("load of the stored value %q", value), err, statemachine.ErrCorruptState, "t-1")
			}
			c.must("release", n.Release(c.ctx, claim))
		}
	}
	claim := a.take("t-1")
	a.store(claim, paused(1))
	a.wantState(claim, paused(1))
}

// "metafora.ErrNotOwner: c is not current; nothing was touched."
func storeOfLostClaimTouchesNothing(c *cluster) {
	a, b := c.joinStateful("a", NodeOptions{}), c.joinStateful("b", NodeOptions{})
	stale, current := c.lostClaim(a.node, b.node, "t-1")
	c.wantError("store by a lost claim", a.Store(c.ctx, stale, paused(1), 0), metafora.ErrNotOwner, "t-1")
	b.wantNoState(current)
	b.store(current, paused(2))
	c.wantError("store by a lost claim", a.Store(c.ctx, stale, paused(3), 0), metafora.ErrNotOwner, "t-1")
	b.wantState(current, paused(2))
	for _, unknown := range unknownClaims(current, "t-2") {
		c.wantError("store by a claim that never was", b.Store(c.ctx, unknown, paused(4), 0), metafora.ErrNotOwner, unknown.TaskID)
	}
	b.wantState(current, paused(2))
}

// A claim that this node itself gave up stores nothing either, whether the task
// waits, runs under the node's next claim, is done, or was submitted anew.
func storeOfEndedClaimTouchesNothing(c *cluster) {
	c.submit("t-1")
	a := c.joinStateful("a", NodeOptions{})
	refused := func(claim metafora.Claim) {
		c.t.Helper()
		c.wantError("store by an ended claim", a.Store(c.ctx, claim, paused(9), 0), metafora.ErrNotOwner, "t-1")
	}
	first := a.take("t-1")
	a.store(first, paused(1))
	c.must("release", a.Release(c.ctx, first))
	refused(first)
	second := a.take("t-1")
	refused(first)
	a.wantState(second, paused(1))
	c.must("done", a.Done(c.ctx, second))
	refused(second)
	mark := c.journal.mark()
	c.submit("t-1")
	refused(second)
	a.awaitTask(mark, "t-1")
	a.wantNoState(a.take("t-1"))
}

func storeAfterLeaseLostTouchesNothing(c *cluster) {
	c.need("Faults.RevokeLease", c.Faults.RevokeLease != nil)
	c.submit("t-1")
	a, b := c.joinStateful("a", NodeOptions{}), c.joinStateful("b", NodeOptions{})
	stale := a.take("t-1")
	a.store(stale, paused(1))
	c.Faults.RevokeLease(c.t, "a")
	c.wantError("store after the lease ended", a.Store(c.ctx, stale, paused(2), 0), metafora.ErrNotOwner, "t-1")
	a.awaitLost(stale)
	b.wantState(b.take("t-1"), paused(1))
}

// "metafora.ErrNotOwner where c is known not to be current": else what is
// stored.
func loadOfLostClaim(c *cluster) {
	a, b := c.joinStateful("a", NodeOptions{}), c.joinStateful("b", NodeOptions{})
	stale, current := c.lostClaim(a.node, b.node, "t-1")
	b.store(current, paused(1))
	state, err := a.Load(c.ctx, stale)
	switch {
	case err == nil && state.Equal(paused(1)):
	case errors.Is(err, metafora.ErrNotOwner):
	default:
		c.t.Fatalf("load by a lost claim: %+v and the error %v", state, err)
	}
}

func concurrentStoresKeepOne(c *cluster) {
	c.submit("t")
	a := c.joinStateful("a", NodeOptions{})
	claim := a.take("t")
	c.parallel(20, func(i int) error { return a.Store(c.ctx, claim, paused(i+1), 0) })
	got, err := a.Load(c.ctx, claim)
	c.must("load", err)
	if n := got.Since.Unix(); !got.Equal(paused(int(n))) || n < 1 || n > 20 {
		c.t.Fatalf("the state is %+v, want one of those that were stored", got)
	}
}

// "settle writes whose reply was lost".
func storeWhoseReplyWasLostIsSettled(c *cluster) {
	c.need("Faults.LoseReply", c.Faults.LoseReply != nil)
	c.submit("t")
	a := c.joinStateful("a", NodeOptions{})
	claim := a.take("t")
	c.Faults.LoseReply(c.t, "a")
	a.store(claim, paused(1))
	a.wantState(claim, paused(1))
}

// "in the same atomic write removes the command whose ID is handled".
func storeRemovesTheHandledCommand(c *cluster) {
	c.submit("t")
	a, b := c.joinStateful("a", NodeOptions{}), c.joinStateful("b", NodeOptions{})
	c.send("t", statemachine.Pause())
	claim := a.take("t")
	cmd := a.listen(claim).want(statemachine.Pause())
	a.store(claim, paused(1)) // handles nothing
	c.must("release", a.Release(c.ctx, claim))
	claim = b.take("t")
	if again := b.listen(claim).want(statemachine.Pause()); again.ID != cmd.ID {
		c.t.Fatalf("the command's ID became %d, it was %d", again.ID, cmd.ID)
	}
	c.must("store", b.Store(c.ctx, claim, paused(2), cmd.ID))
	b.wantState(claim, paused(2))
	c.must("release", b.Release(c.ctx, claim))
	a.wantNothingPending(a.take("t"))
}

// A store that is refused touches the command no more than the state.
func refusedStoreKeepsTheCommand(c *cluster) {
	a, b := c.joinStateful("a", NodeOptions{}), c.joinStateful("b", NodeOptions{})
	stale, current := c.lostClaim(a.node, b.node, "t-1")
	c.send("t-1", statemachine.Pause())
	commands := b.listen(current)
	cmd := commands.want(statemachine.Pause())
	commands.stop()
	c.wantError("store by a lost claim", a.Store(c.ctx, stale, paused(1), cmd.ID), metafora.ErrNotOwner, "t-1")
	b.listen(current).want(statemachine.Pause())
}

// "unless a newer one has replaced it".
func storeKeepsANewerCommand(c *cluster) {
	c.submit("t")
	a, b := c.joinStateful("a", NodeOptions{}), c.joinStateful("b", NodeOptions{})
	claim := a.take("t")
	commands := a.listen(claim)
	c.send("t", statemachine.Pause())
	old := commands.want(statemachine.Pause())
	c.send("t", statemachine.Run())
	c.must("store", a.Store(c.ctx, claim, paused(1), old.ID))
	newer := commands.want(statemachine.Run())
	if newer.ID <= old.ID {
		c.t.Fatalf("the command ID %d comes after %d", newer.ID, old.ID)
	}
	a.wantState(claim, paused(1))
	c.must("release", a.Release(c.ctx, claim))
	b.listen(b.take("t")).want(statemachine.Run())
}
