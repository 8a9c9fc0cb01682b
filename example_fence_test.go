package metafora_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/metafora-go/metafora"
)

// Ledger is an outside store that is safe from handlers that outlive their
// claim: it remembers the largest fence it has seen for each task, and refuses
// smaller ones.
type Ledger struct {
	mu     sync.Mutex
	fences map[string]uint64
}

var errStale = errors.New("a newer claim has written")

func (l *Ledger) Write(claim metafora.Claim, entry string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if claim.Fence < l.fences[claim.TaskID] {
		return fmt.Errorf("write %q: %w", entry, errStale)
	}
	l.fences[claim.TaskID] = claim.Fence
	return nil
}

// A handler passes the fence of its claim along with each write.
func ExampleClaimFromContext() {
	ledger := &Ledger{fences: make(map[string]uint64)}
	work := func(ctx context.Context, entry string) error {
		claim, ok := metafora.ClaimFromContext(ctx)
		if !ok {
			return errors.New("not in a handler")
		}
		return ledger.Write(claim, entry)
	}

	// The context of a handler carries the claim. Here, one handler was paused
	// for so long that another node has the task by now.
	paused := metafora.ContextWithClaim(context.Background(), metafora.Claim{TaskID: "t", Node: "a", Fence: 7}, nil)
	current := metafora.ContextWithClaim(context.Background(), metafora.Claim{TaskID: "t", Node: "b", Fence: 9}, nil)
	fmt.Println(work(paused, "one"))
	fmt.Println(work(current, "two"))
	fmt.Println(work(paused, "three"))
	fmt.Println(work(context.Background(), "four"))
	// Output:
	// <nil>
	// <nil>
	// write "three": a newer claim has written
	// not in a handler
}
