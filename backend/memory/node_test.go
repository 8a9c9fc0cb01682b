package memory_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
)

// node is a Coordinator that has joined, with a record of what it said.
type node struct {
	*memory.Coordinator
	t *testing.T

	mu        sync.Mutex // guards the record
	losses    []loss
	changes   int
	announced []metafora.Task
}

type loss struct {
	claim metafora.Claim
	cause error
	at    time.Time
}

// join lets a node join and closes it when the test ends.
func join(t *testing.T, b *memory.Broker, name string, opts ...memory.Option) *node {
	t.Helper()
	n := &node{Coordinator: b.Coordinator(name, opts...), t: t}
	if err := n.Init(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// Lost implements metafora.CoordinatorContext.
func (n *node) Lost(c metafora.Claim, cause error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.losses = append(n.losses, loss{c, cause, time.Now()})
}

// ClusterChanged implements metafora.CoordinatorContext.
func (n *node) ClusterChanged() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.changes++
}

// watch announces into the record until the test ends. The test must run in a
// synctest bubble: synctest.Wait waits until all is announced.
func (n *node) watch() { go n.note(n.watchUnread()) }

// watchUnread announces into a channel that the caller reads.
func (n *node) watchUnread() <-chan metafora.Task {
	tasks := make(chan metafora.Task)
	ctx, cancel := context.WithCancel(n.t.Context())
	n.t.Cleanup(cancel)
	go func() {
		defer close(tasks)
		if err := n.Watch(ctx, tasks); err != nil && !errors.Is(err, metafora.ErrClosed) && !errors.Is(err, memory.ErrKilled) {
			n.t.Errorf("node %q: Watch: %v", n.Name(), err)
		}
	}()
	return tasks
}

func (n *node) note(tasks <-chan metafora.Task) {
	for t := range tasks {
		n.mu.Lock()
		n.announced = append(n.announced, t)
		n.mu.Unlock()
	}
}

// wantAnnounced fails the test unless these tasks were announced since the last
// call, in this order.
func (n *node) wantAnnounced(want ...string) {
	n.t.Helper()
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	got := make([]string, 0, len(n.announced))
	for _, t := range n.announced {
		got = append(got, t.ID())
	}
	n.announced = nil
	if !slices.Equal(got, want) {
		n.t.Fatalf("node %q announced %q, want %q", n.Name(), got, want)
	}
}

// wantLost fails the test unless these claims were lost since the last call, in
// this order and for this cause, and returns when the first was.
func (n *node) wantLost(cause error, want ...metafora.Claim) time.Time {
	n.t.Helper()
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	losses := n.losses
	n.losses = nil
	got := make([]metafora.Claim, 0, len(losses))
	for _, l := range losses {
		if !errors.Is(l.cause, cause) {
			n.t.Fatalf("node %q lost %v: %v, want %v", n.Name(), l.claim, l.cause, cause)
		}
		got = append(got, l.claim)
	}
	if !slices.Equal(got, want) {
		n.t.Fatalf("node %q lost %v, want %v", n.Name(), got, want)
	}
	if len(losses) == 0 {
		return time.Time{}
	}
	return losses[0].at
}

// claim claims tasks and fails the test unless all are granted.
func (n *node) claim(ids ...string) []metafora.Claim {
	n.t.Helper()
	claims := make([]metafora.Claim, len(ids))
	for i, id := range ids {
		var err error
		if claims[i], err = n.Claim(n.t.Context(), metafora.NewTask(id)); err != nil {
			n.t.Fatal(err)
		}
	}
	return claims
}

// submit submits plain tasks.
func submit(t *testing.T, b *memory.Broker, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := b.Client().SubmitTask(t.Context(), metafora.NewTask(id)); err != nil {
			t.Fatal(err)
		}
	}
}

// owner returns who owns a task according to the broker.
func owner(t *testing.T, b *memory.Broker, id string) string {
	t.Helper()
	info, err := b.Client().Task(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return info.Owner
}

// wantErr fails the test unless err wraps want.
func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want one that wraps %v", err, want)
	}
}

func numbered(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("t%04d", i)
	}
	return ids
}
