package metafora_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
)

// Run tells how a node ended. A handler that looks at neither its stop nor its
// context is named, and its claim is left to the lease: it still runs.
func ExampleConsumer_Run() {
	broker := memory.NewBroker()
	running, forever := make(chan struct{}), make(chan struct{})
	handler := metafora.SimpleHandler(func(context.Context, metafora.Task, <-chan struct{}) bool {
		close(running)
		<-forever
		return false
	})
	node, err := metafora.NewConsumer(broker.Coordinator("node-1"), handler, balance.All(),
		metafora.WithDrainTimeout(0), metafora.WithStuckGrace(0))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- node.Run(ctx) }()
	if err := broker.Client().SubmitTask(ctx, metafora.NewTask("deaf")); err != nil {
		fmt.Println(err)
	}
	<-running
	cancel()
	err = <-ended
	fmt.Println(err)
	fmt.Println(errors.Is(err, metafora.ErrHandlerStuck))
	close(forever)
	// Output:
	// metafora: handler ignores its context: deaf
	// true
}
