package backendtest_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/backendtest"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/statemachine"
)

func claimFlaws() []flaw {
	return []flaw{
		{
			"a claim does not ask whether the task exists",
			[]string{
				"claim/AfterDoneDoesNotResurrect", "claim/AfterDeleteDoesNotResurrect",
				"claim/OfUnknownTaskIsRefused", "claim/RacingDoneDoesNotResurrect",
			},
			flawedNodes(func(b *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return resurrects{c, b} }),
		},
		{
			"a claim by the owner succeeds again",
			[]string{"claim/OfOwnedTaskIsRefused", "claim/OneWinner"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return &claimsAgain{Coordinator: c, held: make(map[string]metafora.Claim)}
			}),
		},
		{
			"a claim does not ask whether the task has an owner",
			[]string{"claim/OneWinner", "claim/OfOwnedTaskIsRefused", "claim/LaterMayHelp"},
			flawedNodes(func(b *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return steals{c, b} }),
		},
		{
			"the fence does not grow",
			[]string{"claim/FenceGrows", "claim/IsWhatTheBrokerSays"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return &constantFence{Coordinator: c, held: make(map[string]metafora.Claim)}
			}),
		},
		{
			"a Task of an earlier submission claims the new one",
			[]string{"claim/OfEarlierSubmissionIsRefused"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return &claimsByID{Coordinator: c, latest: make(map[string]metafora.Task)}
			}),
		},
		{
			"a claim whose context ends is leaked",
			[]string{"claim/EndedContextLeaksNone"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return leaksClaims{c} }),
		},
		{
			"a lost reply is taken for a failure",
			[]string{"claim/LostReplyIsSettled", "release/LostReplyIsSettled", "done/LostReplyIsSettled", "state/LostReplyIsSettled"},
			installUnsettledReplies,
		},
		{
			"errors do not say what they are about",
			[]string{"claim/OfOwnedTaskIsRefused", "claim/AfterDoneDoesNotResurrect"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return namelessErrors{c} }),
		},
		{
			"Release ignores the fence",
			[]string{
				"release/RepeatedChangesNothing", "release/OfLostClaimTouchesNothing", "release/OfUnknownClaimTouchesNothing",
			},
			flawedNodes(func(b *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return releaseIgnoresFence{c, b} }),
		},
		{
			"Release does nothing",
			[]string{"release/GivesTheTaskUp"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return keepsAll{c} }),
		},
		{
			"Release succeeds whatever the claim",
			[]string{"release/OfResubmittedTaskTouchesNothing", "release/OfUnknownClaimTouchesNothing"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return releasesAnything{c} }),
		},
		{
			"Release does not say that a claim has ended already",
			[]string{"release/Concurrently", "release/RepeatedChangesNothing"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return endedUnsaid{c} }),
		},
		{
			"Done ignores the fence",
			[]string{
				"done/RepeatedChangesNothing", "done/OfLostClaimTouchesNothing",
				"done/OfResubmittedTaskTouchesNothing", "done/OfUnknownClaimTouchesNothing",
			},
			flawedNodes(func(b *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return doneIgnoresFence{c, b} }),
		},
		{
			"Done only releases",
			[]string{
				"done/RemovesTheTask", "announce/NotWhenDone", "claim/ThousandAtOnce", "done/Concurrently",
				"done/RacingReleaseHasOneWinner",
			},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return doneReleases{c} }),
		},
	}
}

// resurrects creates the task that it claims.
type resurrects struct {
	*memory.Coordinator
	b *memory.Broker
}

func (c resurrects) Claim(ctx context.Context, t metafora.Task) (metafora.Claim, error) {
	claim, err := c.Coordinator.Claim(ctx, t)
	if !errors.Is(err, metafora.ErrNoTask) || c.b.Client().SubmitTask(ctx, t) != nil {
		return claim, err
	}
	for errors.Is(err, metafora.ErrNoTask) && ctx.Err() == nil {
		time.Sleep(time.Millisecond) // until it is announced
		claim, err = c.Coordinator.Claim(ctx, t)
	}
	return claim, err
}

type claimsAgain struct {
	*memory.Coordinator
	mu   sync.Mutex // guards held
	held map[string]metafora.Claim
}

func (c *claimsAgain) Claim(ctx context.Context, t metafora.Task) (metafora.Claim, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	claim, err := c.Coordinator.Claim(ctx, t)
	if held, ok := c.held[t.ID()]; ok && errors.Is(err, metafora.ErrClaimed) {
		return held, nil
	}
	if err == nil {
		c.held[t.ID()] = claim
	}
	return claim, err
}

type steals struct {
	*memory.Coordinator
	b *memory.Broker
}

func (c steals) Claim(ctx context.Context, t metafora.Task) (metafora.Claim, error) {
	claim, err := c.Coordinator.Claim(ctx, t)
	if errors.Is(err, metafora.ErrClaimed) {
		c.b.DeleteOwner(t.ID())
		return c.Coordinator.Claim(ctx, t)
	}
	return claim, err
}

type constantFence struct {
	*memory.Coordinator
	mu   sync.Mutex // guards held
	held map[string]metafora.Claim
}

func (c *constantFence) Claim(ctx context.Context, t metafora.Task) (metafora.Claim, error) {
	claim, err := c.Coordinator.Claim(ctx, t)
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.held[t.ID()] = claim
		claim.Fence = 1
	}
	return claim, err
}

func (c *constantFence) Release(ctx context.Context, claim metafora.Claim) error {
	return c.Coordinator.Release(ctx, c.real(claim))
}

func (c *constantFence) Done(ctx context.Context, claim metafora.Claim) error {
	return c.Coordinator.Done(ctx, c.real(claim))
}

func (c *constantFence) real(claim metafora.Claim) metafora.Claim {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held[claim.TaskID]
}

// claimsByID takes any Task for the one that was announced last.
type claimsByID struct {
	*memory.Coordinator
	mu     sync.Mutex // guards latest
	latest map[string]metafora.Task
}

// Watch receives from the correct one before anybody receives from this one.
func (c *claimsByID) Watch(ctx context.Context, tasks chan<- metafora.Task) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	inner := make(chan metafora.Task)
	ended := make(chan error, 1)
	go func() { ended <- c.Coordinator.Watch(ctx, inner) }()
	var ahead []metafora.Task
	for {
		var out chan<- metafora.Task
		var next metafora.Task
		if len(ahead) > 0 {
			out, next = tasks, ahead[0]
		}
		select {
		case t := <-inner:
			c.note(t)
			ahead = append(ahead, t)
		case out <- next:
			ahead = ahead[1:]
		case err := <-ended:
			return err
		}
	}
}

func (c *claimsByID) note(t metafora.Task) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latest[t.ID()] = t
}

func (c *claimsByID) Claim(ctx context.Context, t metafora.Task) (metafora.Claim, error) {
	c.mu.Lock()
	if latest, ok := c.latest[t.ID()]; ok {
		t = latest
	}
	c.mu.Unlock()
	return c.Coordinator.Claim(ctx, t)
}

// leaksClaims stops waiting for the broker but not the broker.
type leaksClaims struct{ *memory.Coordinator }

func (c leaksClaims) Claim(ctx context.Context, t metafora.Task) (metafora.Claim, error) {
	claim, err := c.Coordinator.Claim(context.WithoutCancel(ctx), t)
	if ctx.Err() != nil {
		return metafora.Claim{}, ctx.Err()
	}
	return claim, err
}

// installUnsettledReplies lets nodes lose replies and never find out.
func installUnsettledReplies(b *memory.Broker, broker *backendtest.Broker) {
	var lose atomic.Bool
	flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
		return unsettled{c, &lose}
	})(b, broker)
	flawedStores(func(_ *memory.Broker, s statemachine.StateStore) statemachine.StateStore {
		return unsettledStore{s, &lose}
	})(b, broker)
	broker.Faults.LoseReply = func(testing.TB, string) { lose.Store(true) }
}

type unsettled struct {
	*memory.Coordinator
	lose *atomic.Bool // the next reply
}

func (c unsettled) reply(err error) error {
	if c.lose.Swap(false) {
		return errors.New("no reply")
	}
	return err
}

func (c unsettled) Claim(ctx context.Context, t metafora.Task) (metafora.Claim, error) {
	claim, err := c.Coordinator.Claim(ctx, t)
	return claim, c.reply(err)
}

func (c unsettled) Release(ctx context.Context, claim metafora.Claim) error {
	return c.reply(c.Coordinator.Release(ctx, claim))
}

func (c unsettled) Done(ctx context.Context, claim metafora.Claim) error {
	return c.reply(c.Coordinator.Done(ctx, claim))
}

type unsettledStore struct {
	statemachine.StateStore
	lose *atomic.Bool // the next reply
}

func (s unsettledStore) Store(ctx context.Context, c metafora.Claim, state statemachine.State, handled uint64) error {
	err := s.StateStore.Store(ctx, c, state, handled)
	if s.lose.Swap(false) {
		return errors.New("no reply")
	}
	return err
}

type namelessErrors struct{ *memory.Coordinator }

func (c namelessErrors) Claim(ctx context.Context, t metafora.Task) (metafora.Claim, error) {
	claim, err := c.Coordinator.Claim(ctx, t)
	for _, bare := range []error{metafora.ErrClaimed, metafora.ErrNoTask, metafora.ErrClosed, metafora.ErrLeaseLost} {
		if errors.Is(err, bare) {
			err = bare
		}
	}
	return claim, err
}

type releaseIgnoresFence struct {
	*memory.Coordinator
	b *memory.Broker
}

func (c releaseIgnoresFence) Release(ctx context.Context, claim metafora.Claim) error {
	err := c.Coordinator.Release(ctx, claim)
	if errors.Is(err, metafora.ErrNotOwner) && c.b.DeleteOwner(claim.TaskID) {
		return nil
	}
	return err
}

type keepsAll struct{ *memory.Coordinator }

func (keepsAll) Release(context.Context, metafora.Claim) error { return nil }

type releasesAnything struct{ *memory.Coordinator }

func (c releasesAnything) Release(ctx context.Context, claim metafora.Claim) error {
	if err := c.Coordinator.Release(ctx, claim); !errors.Is(err, metafora.ErrNotOwner) {
		return err
	}
	return nil
}

type endedUnsaid struct{ *memory.Coordinator }

func (c endedUnsaid) Release(ctx context.Context, claim metafora.Claim) error {
	err := c.Coordinator.Release(ctx, claim)
	if errors.Is(err, metafora.ErrNotOwner) {
		err = errOther
	}
	return err
}

type doneIgnoresFence struct {
	*memory.Coordinator
	b *memory.Broker
}

func (c doneIgnoresFence) Done(ctx context.Context, claim metafora.Claim) error {
	err := c.Coordinator.Done(ctx, claim)
	if errors.Is(err, metafora.ErrNotOwner) && c.b.Client().DeleteTask(ctx, claim.TaskID) == nil {
		return nil
	}
	return err
}

type doneReleases struct{ *memory.Coordinator }

func (c doneReleases) Done(ctx context.Context, claim metafora.Claim) error {
	return c.Release(ctx, claim)
}
