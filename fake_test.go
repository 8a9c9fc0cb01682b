package metafora_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/metafora-go/metafora"
)

// fakeCoordinator is a Coordinator with a broker of its own, for one node. It
// can be made to fail, wait or lie by its hooks.
type fakeCoordinator struct {
	// Each hook is called, if set, before the call takes effect; an error from
	// it is the call's result. Hooks are set before the Consumer runs.
	onInit    func(context.Context) error
	onClaim   func(context.Context, metafora.Task) error
	onRelease func(context.Context, metafora.Claim) error
	onDone    func(context.Context, metafora.Claim) error
	// These are called when the call has taken effect but has not returned.
	afterClaim, afterRelease func(metafora.Claim)

	onAccepting func(context.Context, bool) error
	onClose     func() error

	commands   chan fakeCommand
	breakWatch chan error // what Watch is to return
	closed     chan struct{}

	mu        sync.Mutex // guards all below
	cc        metafora.CoordinatorContext
	owners    map[string]uint64 // the tasks that exist: the fence of the claim, 0 for none
	fence     uint64
	backlog   []metafora.Task
	grown     chan struct{}
	calls     []string
	accepting []bool
}

type fakeCommand struct {
	cmd metafora.Command
	err error
}

func newFake() *fakeCoordinator {
	return &fakeCoordinator{
		commands:   make(chan fakeCommand),
		breakWatch: make(chan error),
		closed:     make(chan struct{}),
		owners:     make(map[string]uint64),
		grown:      make(chan struct{}, 1),
	}
}

func (f *fakeCoordinator) Name() string             { return "node" }
func (f *fakeCoordinator) LeaseDeadline() time.Time { return time.Unix(1<<40, 0) }

func (f *fakeCoordinator) Init(ctx context.Context, cc metafora.CoordinatorContext) error {
	if f.onInit != nil {
		if err := f.onInit(ctx); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cc = cc
	return nil
}

func (f *fakeCoordinator) Watch(ctx context.Context, tasks chan<- metafora.Task) error {
	for {
		t, ok := f.next()
		if !ok {
			select {
			case <-ctx.Done():
				return nil
			case <-f.closed:
				return metafora.ErrClosed
			case err := <-f.breakWatch:
				return err
			case <-f.grown:
			}
			continue
		}
		select {
		case tasks <- t:
		case <-ctx.Done():
			return nil
		}
	}
}

func (f *fakeCoordinator) next() (metafora.Task, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.backlog) == 0 {
		return nil, false
	}
	t := f.backlog[0]
	f.backlog = f.backlog[1:]
	return t, true
}

// submit makes tasks exist and announces them.
func (f *fakeCoordinator) submit(ids ...string) {
	for _, id := range ids {
		f.mu.Lock()
		f.owners[id] = 0
		f.mu.Unlock()
		f.announce(metafora.NewTask(id))
	}
}

// announce announces tasks as they are.
func (f *fakeCoordinator) announce(ts ...metafora.Task) {
	f.mu.Lock()
	f.backlog = append(f.backlog, ts...)
	f.mu.Unlock()
	select {
	case f.grown <- struct{}{}:
	default:
	}
}

func (f *fakeCoordinator) Claim(ctx context.Context, t metafora.Task) (metafora.Claim, error) {
	f.called("claim " + t.ID())
	if f.onClaim != nil {
		if err := f.onClaim(ctx, t); err != nil {
			return metafora.Claim{}, err
		}
	}
	claim, err := f.claim(t.ID())
	if err == nil && f.afterClaim != nil {
		f.afterClaim(claim)
	}
	return claim, err
}

func (f *fakeCoordinator) claim(id string) (metafora.Claim, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	owner, exists := f.owners[id]
	switch {
	case !exists:
		return metafora.Claim{}, fmt.Errorf("claim %q: %w", id, metafora.ErrNoTask)
	case owner != 0:
		return metafora.Claim{}, fmt.Errorf("claim %q: %w", id, metafora.ErrClaimed)
	}
	f.fence++
	f.owners[id] = f.fence
	return metafora.Claim{TaskID: id, Node: f.Name(), Fence: f.fence}, nil
}

func (f *fakeCoordinator) Claimable(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	owner, exists := f.owners[id]
	return exists && owner == 0
}

func (f *fakeCoordinator) Release(ctx context.Context, c metafora.Claim) error {
	f.called("release " + c.TaskID)
	if f.onRelease != nil {
		if err := f.onRelease(ctx, c); err != nil {
			return err
		}
	}
	if err := f.end(c, func() { f.owners[c.TaskID] = 0 }); err != nil {
		return err
	}
	f.announce(metafora.NewTask(c.TaskID))
	if f.afterRelease != nil {
		f.afterRelease(c)
	}
	return nil
}

func (f *fakeCoordinator) Done(ctx context.Context, c metafora.Claim) error {
	f.called("done " + c.TaskID)
	if f.onDone != nil {
		if err := f.onDone(ctx, c); err != nil {
			return err
		}
	}
	return f.end(c, func() { delete(f.owners, c.TaskID) })
}

func (f *fakeCoordinator) end(c metafora.Claim, do func()) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.owners[c.TaskID] != c.Fence {
		return fmt.Errorf("end claim %v: %w", c, metafora.ErrNotOwner)
	}
	do()
	return nil
}

func (f *fakeCoordinator) Command(ctx context.Context) (metafora.Command, error) {
	select {
	case c := <-f.commands:
		return c.cmd, c.err
	case <-ctx.Done():
		return metafora.Command{}, ctx.Err()
	case <-f.closed:
		return metafora.Command{}, metafora.ErrClosed
	}
}

func (f *fakeCoordinator) SetAccepting(ctx context.Context, accepting bool) error {
	if f.onAccepting != nil {
		if err := f.onAccepting(ctx, accepting); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.accepting = append(f.accepting, accepting)
	return nil
}

func (f *fakeCoordinator) Close() error {
	f.called("close")
	close(f.closed) // the Consumer closes once
	if f.onClose != nil {
		return f.onClose()
	}
	return nil
}

// remove makes a task no longer exist, as if it were deleted.
func (f *fakeCoordinator) remove(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.owners, id)
}

// giveAway makes another node the owner of a task.
func (f *fakeCoordinator) giveAway(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fence++
	f.owners[id] = f.fence
}

// takeBack ends the claim of a task at the broker and returns what it was.
func (f *fakeCoordinator) takeBack(id string) metafora.Claim {
	f.mu.Lock()
	defer f.mu.Unlock()
	claim := metafora.Claim{TaskID: id, Node: f.Name(), Fence: f.owners[id]}
	f.owners[id] = 0
	return claim
}

func (f *fakeCoordinator) context() metafora.CoordinatorContext {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cc
}

// count returns how often a call was made.
func (f *fakeCoordinator) count(call string) (n int) {
	for _, c := range f.log() {
		if c == call {
			n++
		}
	}
	return n
}

// told returns what the cluster was told about accepting tasks.
func (f *fakeCoordinator) told() []bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.accepting)
}

func (f *fakeCoordinator) called(call string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
}

// log returns the calls so far.
func (f *fakeCoordinator) log() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// owned returns which tasks have an owner, sorted.
func (f *fakeCoordinator) owned() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	owned := []string{}
	for id, fence := range f.owners {
		if fence != 0 {
			owned = append(owned, id)
		}
	}
	slices.Sort(owned)
	return owned
}

// fakeBalancer claims everything unless told otherwise.
type fakeBalancer struct {
	bc       metafora.BalancerContext
	canClaim func(metafora.Task) (time.Time, bool)
	balance  func() []string
	rounds   int
}

func (b *fakeBalancer) Init(bc metafora.BalancerContext) { b.bc = bc }

func (b *fakeBalancer) CanClaim(t metafora.Task) (time.Time, bool) {
	if b.canClaim == nil {
		return time.Time{}, true
	}
	return b.canClaim(t)
}

func (b *fakeBalancer) Balance() []string {
	b.rounds++
	if b.balance == nil {
		return nil
	}
	return b.balance()
}
