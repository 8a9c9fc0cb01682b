package backendtest_test

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/backendtest"
	"github.com/metafora-go/metafora/backend/memory"
)

func nodeFlaws() []flaw {
	return []flaw{
		{
			"Close releases the tasks",
			[]string{"close/ReleasesNoTask", "close/CallsAfterwards"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return &closeReleases{Coordinator: c}
			}),
		},
		{
			"Close does not leave the cluster",
			[]string{
				"close/LeavesTheCluster", "membership/NameFreeAfterClose", "commands/UnknownNode",
				"client/NodesAreSorted", "close/DuringInit",
			},
			flawedNodes(func(b *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return justGoes{c, b} }),
		},
		{
			"Close fails the second time",
			[]string{"close/IsIdempotent", "close/Concurrently"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return &closesOnce{Coordinator: c} }),
		},
		{
			"Close leaves a goroutine",
			[]string{"close/IsIdempotent"},
			func(_ *memory.Broker, broker *backendtest.Broker) {
				correct := broker.NewCoordinator
				broker.NewCoordinator = func(t testing.TB, name string, o backendtest.NodeOptions) metafora.Coordinator {
					end := make(chan struct{})
					t.Cleanup(func() { close(end) })
					return leavesGoroutine{correct(t, name, o).(*memory.Coordinator), end}
				}
			},
		},
		{
			"calls after Close do not say closed",
			[]string{"close/CallsAfterwards", "close/EndsWatch", "close/EndsCommand"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return closedUnsaid{c} }),
		},
		{
			"a claim that Close ends says that the lease is lost",
			[]string{"close/EndsCallsWhileCutOff"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return &closeLosesLease{Coordinator: c, closed: make(chan struct{})}
			}),
		},
		{
			"a node misses another for a moment when it reads what it knows",
			[]string{"membership/ReadConcurrently"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return &blinks{Coordinator: c} }),
		},
		{
			"a node that is closed can join",
			[]string{"close/BeforeInit", "close/CallsAfterwards"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return joinsClosed{c} }),
		},
		{
			"a claim that Close ends says that its context has ended",
			[]string{"close/UnderLoad", "close/CallsAfterwards"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return closeCancels{c} }),
		},
		{
			"the name goes with the node",
			[]string{"membership/NameNeverChanges"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return &forgetsName{Coordinator: c}
			}),
		},
		{
			"a call whose context has ended waits for Close",
			[]string{"contexts/EndedBefore"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return &waitsForClose{Coordinator: c, closed: make(chan struct{})}
			}),
		},
		{
			"Claimable takes IDs for paths",
			[]string{"ids/AwkwardTaskIDsStayApart"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return cleansIDs{c} }),
		},
		{
			"Close does not end Command",
			[]string{"close/EndsCommand"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return commandOutlivesClose{c} }),
		},
		{
			"two nodes may have one name",
			[]string{"membership/NameTaken", "membership/OneOfManyTakesAName", "membership/NameFreeAfterDeath"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return acceptsAnyName{c} }),
		},
		{
			"Nodes is not sorted",
			[]string{"membership/NodesAreSorted"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return reversedNodes{c} }),
		},
		{
			"only its own tasks are counted",
			[]string{"membership/TaskCounts"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return countsItself{c} }),
		},
		{
			"ClusterChanged is not called",
			[]string{"membership/ChangesAreTold", "membership/DeadNodeLeaves", "close/LeavesTheCluster"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return deaf{c} }),
		},
		{
			"SetAccepting tells nobody",
			[]string{
				"membership/Accepting", "membership/ChangesAreTold", "lost/RejoinsAfterLoss",
				"contexts/EndsCallsWhileCutOff",
			},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return tellsNobody{c} }),
		},
		{
			"the lease outlives the node",
			[]string{"announce/AfterOwnerDeath", "membership/DeadNodeLeaves", "membership/NameFreeAfterDeath"},
			flawedNodes(func(b *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return b.Coordinator(c.Name(), memory.WithTTL(100*time.Hour))
			}),
		},
	}
}

type closeReleases struct {
	*memory.Coordinator
	mu   sync.Mutex // guards held
	held []metafora.Claim
}

func (c *closeReleases) Claim(ctx context.Context, t metafora.Task) (metafora.Claim, error) {
	claim, err := c.Coordinator.Claim(ctx, t)
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.held = append(c.held, claim)
	}
	return claim, err
}

func (c *closeReleases) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, claim := range c.held {
		_ = c.Release(context.Background(), claim)
	}
	return c.Coordinator.Close()
}

// justGoes closes like a process that exits.
type justGoes struct {
	*memory.Coordinator
	b *memory.Broker
}

func (c justGoes) Close() error {
	c.b.Kill(c.Name())
	return c.Coordinator.Close()
}

type closesOnce struct {
	*memory.Coordinator
	mu     sync.Mutex // guards closed
	closed bool
}

func (c *closesOnce) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return metafora.ErrClosed
	}
	c.closed = true
	return c.Coordinator.Close()
}

type leavesGoroutine struct {
	*memory.Coordinator
	end <-chan struct{} // closed after all checks of what is left
}

func (c leavesGoroutine) Init(ctx context.Context, cc metafora.CoordinatorContext) error {
	go c.linger()
	return c.Coordinator.Init(ctx, cc)
}

func (c leavesGoroutine) linger() { <-c.end }

type closedUnsaid struct{ *memory.Coordinator }

var errOther = errors.New("something else")

func (c closedUnsaid) Watch(ctx context.Context, tasks chan<- metafora.Task) error {
	if err := c.Coordinator.Watch(ctx, tasks); err != nil {
		return errOther
	}
	return nil
}

func (c closedUnsaid) Command(ctx context.Context) (metafora.Command, error) {
	cmd, err := c.Coordinator.Command(ctx)
	if errors.Is(err, metafora.ErrClosed) {
		err = errOther
	}
	return cmd, err
}

// closeLosesLease waits for a broker that is out of reach.
type closeLosesLease struct {
	*memory.Coordinator
	once   sync.Once
	closed chan struct{}
}

func (c *closeLosesLease) Claim(ctx context.Context, t metafora.Task) (metafora.Claim, error) {
	claim, err := c.Coordinator.Claim(ctx, t)
	if !errors.Is(err, memory.ErrUnreachable) {
		return claim, err
	}
	select {
	case <-c.closed:
		err = metafora.ErrLeaseLost
	case <-ctx.Done():
		err = ctx.Err()
	}
	return claim, fmt.Errorf("claim %q: %w", t.ID(), err)
}

func (c *closeLosesLease) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Coordinator.Close()
}

type joinsClosed struct{ *memory.Coordinator }

func (c joinsClosed) Init(ctx context.Context, cc metafora.CoordinatorContext) error {
	if err := c.Coordinator.Init(ctx, cc); !errors.Is(err, metafora.ErrClosed) {
		return err
	}
	return nil
}

type closeCancels struct{ *memory.Coordinator }

func (c closeCancels) Claim(ctx context.Context, t metafora.Task) (metafora.Claim, error) {
	claim, err := c.Coordinator.Claim(ctx, t)
	if errors.Is(err, metafora.ErrClosed) {
		err = fmt.Errorf("claim %q: %w", t.ID(), context.Canceled)
	}
	return claim, err
}

type forgetsName struct {
	*memory.Coordinator
	closed atomic.Bool
}

func (c *forgetsName) Name() string {
	if c.closed.Load() {
		return ""
	}
	return c.Coordinator.Name()
}

func (c *forgetsName) Close() error {
	c.closed.Store(true)
	return c.Coordinator.Close()
}

type waitsForClose struct {
	*memory.Coordinator
	once   sync.Once
	closed chan struct{}
}

func (c *waitsForClose) Release(ctx context.Context, claim metafora.Claim) error {
	if ctx.Err() != nil {
		<-c.closed
	}
	return c.Coordinator.Release(ctx, claim)
}

func (c *waitsForClose) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Coordinator.Close()
}

type cleansIDs struct{ *memory.Coordinator }

func (c cleansIDs) Claimable(id string) bool { return c.Coordinator.Claimable(path.Clean(id)) }

type blinks struct {
	*memory.Coordinator
	reads atomic.Int64
}

func (c *blinks) Nodes() []metafora.Node {
	nodes := c.Coordinator.Nodes()
	if c.reads.Add(1)%100 == 0 {
		return nodes[:1]
	}
	return nodes
}

type commandOutlivesClose struct{ *memory.Coordinator }

func (c commandOutlivesClose) Command(ctx context.Context) (metafora.Command, error) {
	cmd, err := c.Coordinator.Command(ctx)
	if errors.Is(err, metafora.ErrClosed) {
		<-ctx.Done()
	}
	return cmd, err
}

type acceptsAnyName struct{ *memory.Coordinator }

func (c acceptsAnyName) Init(ctx context.Context, cc metafora.CoordinatorContext) error {
	if err := c.Coordinator.Init(ctx, cc); !errors.Is(err, metafora.ErrNodeExists) {
		return err
	}
	return nil
}

type reversedNodes struct{ *memory.Coordinator }

func (c reversedNodes) Nodes() []metafora.Node {
	nodes := slices.Clone(c.Coordinator.Nodes())
	slices.Reverse(nodes)
	return nodes
}

type countsItself struct{ *memory.Coordinator }

func (c countsItself) NodeTaskCount(node string) int {
	if node != c.Name() {
		return 0
	}
	return c.Coordinator.NodeTaskCount(node)
}

type deaf struct{ *memory.Coordinator }

func (c deaf) Init(ctx context.Context, cc metafora.CoordinatorContext) error {
	return c.Coordinator.Init(ctx, deafContext{cc})
}

type deafContext struct{ metafora.CoordinatorContext }

func (deafContext) ClusterChanged() {}

type tellsNobody struct{ *memory.Coordinator }

func (tellsNobody) SetAccepting(context.Context, bool) error { return nil }
