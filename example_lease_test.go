package metafora_test

import (
	"context"
	"fmt"
	"time"

	"github.com/metafora-go/metafora"
)

// fixedLease is a lease for a test of a handler.
type fixedLease struct{ until time.Time }

func (l fixedLease) LeaseDeadline() time.Time { return l.until }

// A write to a store that knows no fences is given no more time than the claim
// is safe for. The deadline moves on with each renewal: ask for each write.
func ExampleLeaseDeadline() {
	write := func(ctx context.Context) {
		if deadline, ok := metafora.LeaseDeadline(ctx); ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithDeadline(ctx, deadline)
			defer cancel()
		}
		deadline, limited := ctx.Deadline()
		fmt.Println(limited, deadline.UTC().Format(time.TimeOnly))
	}

	claim := metafora.Claim{TaskID: "t", Node: "node-1", Fence: 7}
	lease := fixedLease{time.Date(2040, 1, 2, 12, 30, 0, 0, time.UTC)}
	write(metafora.ContextWithClaim(context.Background(), claim, lease))
	// Output:
	// true 12:30:00
}
