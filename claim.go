package metafora

import (
	"context"
	"fmt"
	"time"
)

// Claim is a node's exclusive, leased ownership of a task.
type Claim struct {
	TaskID string `json:"task"`
	Node   string `json:"node"`
	// Fence grows with every claim of this task, also across a new submission
	// of the same ID. An outside store that remembers the largest fence it saw
	// and refuses smaller ones is safe from handlers that outlive their claim.
	// See Martin Kleppmann, "How to do distributed locking", 2016.
	Fence uint64 `json:"fence"`
}

func (c Claim) String() string { return fmt.Sprintf("%s@%s#%d", c.TaskID, c.Node, c.Fence) }

type claimKey struct{}

// claimContext is a context that carries a claim.
type claimContext struct {
	context.Context
	claim Claim
	lease LeaseHolder
}

// Value implements [context.Context].
func (c *claimContext) Value(key any) any {
	if key == (claimKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// ContextWithClaim returns a copy of ctx that carries c. The Consumer calls it
// for each handler; tests of handlers may do the same. lease may be nil.
func ContextWithClaim(ctx context.Context, c Claim, lease LeaseHolder) context.Context {
	return &claimContext{Context: ctx, claim: c, lease: lease}
}

// ClaimFromContext returns the claim under which a handler runs. It reports
// false outside a handler.
func ClaimFromContext(ctx context.Context) (Claim, bool) {
	v, ok := ctx.Value(claimKey{}).(*claimContext)
	if !ok {
		return Claim{}, false
	}
	return v.claim, true
}

// LeaseHolder tells until when this node's claims are safe. Coordinators whose
// claims live on a lease implement it.
type LeaseHolder interface {
	// LeaseDeadline returns the local time at which the contexts of handlers
	// end unless the lease is renewed before. It is safe for concurrent use.
	LeaseDeadline() time.Time
}

// LeaseDeadline returns the time until which the claim of a handler's context
// is safe as of now: unless the lease is renewed, the context ends then, a
// safety margin before another node may claim the task. The time moves on with
// each renewal, which is why the context itself has no such deadline. A write
// to a store that knows no fences should be given no more time than this. It
// reports false outside a handler, and where the backend has no leases.
func LeaseDeadline(ctx context.Context) (time.Time, bool) {
	v, ok := ctx.Value(claimKey{}).(*claimContext)
	if !ok || v.lease == nil {
		return time.Time{}, false
	}
	return v.lease.LeaseDeadline(), true
}
