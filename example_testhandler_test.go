package metafora_test

import (
	"context"
	"fmt"

	"github.com/metafora-go/metafora"
)

// A handler is tested without a cluster: give it a context with a claim.
func ExampleContextWithClaim() {
	handler := metafora.SimpleHandler(func(ctx context.Context, t metafora.Task, _ <-chan struct{}) bool {
		claim, ok := metafora.ClaimFromContext(ctx)
		fmt.Println(claim, ok)
		return true
	})

	claim := metafora.Claim{TaskID: "t", Node: "node-1", Fence: 7}
	ctx := metafora.ContextWithClaim(context.Background(), claim, nil)
	fmt.Println(handler(metafora.NewTask("t")).Run(ctx))
	// Output:
	// t@node-1#7 true
	// true
}
