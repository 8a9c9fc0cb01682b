package metafora_test

import (
	"context"
	"fmt"

	"github.com/metafora-go/metafora"
)

// Most handlers are a function. It sees its claim lost or its time over in ctx,
// and is asked to hand over by stop.
func ExampleSimpleHandler() {
	newHandler := metafora.SimpleHandler(func(ctx context.Context, t metafora.Task, stop <-chan struct{}) bool {
		select {
		case <-stop:
			fmt.Println(t.ID(), "hands over")
			return false
		case <-ctx.Done():
			fmt.Println(t.ID(), "leaves at once:", context.Cause(ctx))
			return false
		}
	})

	// This is what a Consumer does with it.
	h := newHandler(metafora.NewTask("a"))
	h.Stop()
	h.Stop()
	fmt.Println("done:", h.Run(context.Background()))

	ctx, lose := context.WithCancelCause(context.Background())
	lose(metafora.ErrLeaseLost)
	fmt.Println("done:", newHandler(metafora.NewTask("b")).Run(ctx))
	// Output:
	// a hands over
	// done: false
	// b leaves at once: metafora: lease lost
	// done: false
}
