package backendtest_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/backendtest"
	"github.com/metafora-go/metafora/backend/memory"
)

func lostFlaws() []flaw {
	return []flaw{
		{
			"Lost is never called",
			[]string{
				"lost/RevokedLease", "lost/DeletedOwner", "lost/DeletedTask", "lost/ResubmittedTask",
				"lost/OnceForEachClaim", "lost/BeforeTheTaskPassesOn", "lost/WhileCutOff", "client/DeleteRunning",
			},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return flawedLost{c, func(metafora.CoordinatorContext, metafora.Claim, error) {}}
			}),
		},
		{
			"Lost is called twice",
			[]string{"lost/OnceForEachClaim", "lost/RevokedLease", "lost/DeletedTask"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return flawedLost{c, func(cc metafora.CoordinatorContext, claim metafora.Claim, cause error) {
					cc.Lost(claim, cause)
					cc.Lost(claim, cause)
				}}
			}),
		},
		{
			"Lost comes when the lease has ended",
			[]string{"lost/BeforeTheTaskPassesOn"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return flawedLost{c, func(cc metafora.CoordinatorContext, claim metafora.Claim, cause error) {
					time.AfterFunc(10*time.Second, func() { cc.Lost(claim, cause) })
				}}
			}),
		},
		{
			"Lost has another cause",
			[]string{"lost/DeletedTask", "lost/DeletedOwner"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return flawedLost{c, func(cc metafora.CoordinatorContext, claim metafora.Claim, _ error) {
					cc.Lost(claim, errors.New("gone"))
				}}
			}),
		},
		{
			"Lost is called for a Release",
			[]string{"lost/NotForReleaseOrDone"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return &lostByRelease{Coordinator: c}
			}),
		},
		{
			"a node does not come back after its lease was lost",
			[]string{"lost/RejoinsAfterLoss", "lost/BeforeTheTaskPassesOn"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return &givesUp{Coordinator: c} }),
		},
		{
			"a node that is cut off loses its lease at once",
			[]string{"lost/ShortPartitionLosesNothing"},
			installPartitionEndsLease,
		},
		{
			"a compaction drops an owner",
			[]string{"compaction/KeepsClaims"},
			installCompactionDropsOwner,
		},
		{
			"the lease's deadline stands still",
			[]string{"lost/LeaseDeadlineMovesOn"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return fixedDeadline{c, time.Now().Add(time.Hour)}
			}),
		},
		{
			"a node is called back after Close",
			[]string{"close/NothingIsCalledBack"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return &callsBackLate{Coordinator: c}
			}),
		},
	}
}

// flawedLost does something else where Lost is to be called.
type flawedLost struct {
	*memory.Coordinator
	lost func(cc metafora.CoordinatorContext, claim metafora.Claim, cause error)
}

func (c flawedLost) Init(ctx context.Context, cc metafora.CoordinatorContext) error {
	return c.Coordinator.Init(ctx, lostContext{cc, c.lost})
}

type lostContext struct {
	metafora.CoordinatorContext
	lost func(cc metafora.CoordinatorContext, claim metafora.Claim, cause error)
}

func (c lostContext) Lost(claim metafora.Claim, cause error) {
	c.lost(c.CoordinatorContext, claim, cause)
}

type lostByRelease struct {
	*memory.Coordinator
	cc metafora.CoordinatorContext
}

func (c *lostByRelease) Init(ctx context.Context, cc metafora.CoordinatorContext) error {
	c.cc = cc
	return c.Coordinator.Init(ctx, cc)
}

func (c *lostByRelease) Release(ctx context.Context, claim metafora.Claim) error {
	err := c.Coordinator.Release(ctx, claim)
	if err == nil {
		c.cc.Lost(claim, metafora.ErrNotOwner)
	}
	return err
}

type givesUp struct {
	*memory.Coordinator
	lost atomic.Bool
}

func (c *givesUp) Init(ctx context.Context, cc metafora.CoordinatorContext) error {
	return flawedLost{c.Coordinator, func(cc metafora.CoordinatorContext, claim metafora.Claim, cause error) {
		if errors.Is(cause, metafora.ErrLeaseLost) {
			c.lost.Store(true)
		}
		cc.Lost(claim, cause)
	}}.Init(ctx, cc)
}

func (c *givesUp) Claim(ctx context.Context, t metafora.Task) (metafora.Claim, error) {
	if c.lost.Load() {
		return metafora.Claim{}, metafora.ErrLeaseLost
	}
	return c.Coordinator.Claim(ctx, t)
}

func installPartitionEndsLease(b *memory.Broker, broker *backendtest.Broker) {
	partition := broker.Faults.Partition
	broker.Faults.Partition = func(t testing.TB, node string) {
		partition(t, node)
		b.ExpireLease(node)
	}
}

func installCompactionDropsOwner(b *memory.Broker, broker *backendtest.Broker) {
	compact := broker.Faults.Compact
	broker.Faults.Compact = func(t testing.TB) {
		compact(t)
		infos, _ := b.Client().Tasks(t.Context())
		for _, info := range infos {
			if info.Owner != "" {
				b.DeleteOwner(info.ID)
				return
			}
		}
	}
}

type fixedDeadline struct {
	*memory.Coordinator
	deadline time.Time
}

func (c fixedDeadline) LeaseDeadline() time.Time { return c.deadline }

type callsBackLate struct {
	*memory.Coordinator
	cc metafora.CoordinatorContext
}

func (c *callsBackLate) Init(ctx context.Context, cc metafora.CoordinatorContext) error {
	c.cc = cc
	return c.Coordinator.Init(ctx, cc)
}

func (c *callsBackLate) Close() error {
	if c.cc != nil {
		time.AfterFunc(time.Second, c.cc.ClusterChanged)
	}
	return c.Coordinator.Close()
}
