package simtest_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/simtest"
)

// rows is a store outside of metafora, such as a table or a bucket, that handlers
// write to.
type rows struct {
	mu     sync.Mutex
	fences map[string]uint64 // of who wrote last, by task
	stale  error             // an old owner's write has replaced a newer one's
}

func newRows() *rows { return &rows{fences: make(map[string]uint64)} }

// put is what stores do that know nothing of owners: the last write wins.
func (r *rows) put(c metafora.Claim) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last := r.fences[c.TaskID]; c.Fence < last {
		r.stale = fmt.Errorf("claim %d writes %s after claim %d has", c.Fence, c.TaskID, last)
	}
	r.fences[c.TaskID] = c.Fence
}

// putFenced refuses writes of old owners: UPDATE ... WHERE fence <= the claim's.
func (r *rows) putFenced(c metafora.Claim) {
	r.mu.Lock()
	refused := c.Fence < r.fences[c.TaskID]
	r.mu.Unlock()
	if !refused {
		r.put(c)
	}
}

func (r *rows) check() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stale
}

// writer makes handlers that write once, and then wait. That they look whether they
// still own the task, just before they write, does not help: the process may stand
// still, or the write be long on its way, and that is what Gate stands for.
func writer(s *simtest.Sim, put func(metafora.Claim)) metafora.HandlerFunc {
	return metafora.SimpleHandler(func(ctx context.Context, _ metafora.Task, stop <-chan struct{}) bool {
		claim, _ := metafora.ClaimFromContext(ctx)
		if ctx.Err() != nil || s.Gate(ctx, "write") != nil {
			return false
		}
		put(claim)
		select {
		case <-stop:
		case <-ctx.Done():
		}
		return false
	})
}

// A test of a handler that writes to a store of its own. With put in place of
// putFenced, it fails, and shows a timeline in which a node stands still before it
// writes, loses its task to another that writes too, and goes on.
func ExampleRun() {
	var t *testing.T // that of the test function in which this is
	simtest.Run(t, simtest.Config{Nodes: 2, Tasks: 2}, func(s *simtest.Sim) {
		r := newRows()
		s.Handle(writer(s, r.putFenced))
		s.Invariant("no write of an old owner", r.check)
		s.Explore()
		s.Settle()
	})
}
