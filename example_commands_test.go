package metafora_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
)

// An operator tells a node what to do.
func ExampleCommand() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	broker := memory.NewBroker()
	client := broker.Client()
	events := make(chan string)
	handler := metafora.SimpleHandler(func(_ context.Context, t metafora.Task, stop <-chan struct{}) bool {
		events <- t.ID() + " runs"
		<-stop
		events <- t.ID() + " stops"
		return true
	})
	node, err := metafora.NewConsumer(broker.Coordinator("node-1"), handler, balance.All())
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error)
	go func() { ended <- node.Run(ctx) }()
	for _, id := range []string{"a", "b"} {
		if err := client.SubmitTask(ctx, metafora.NewTask(id)); err != nil {
			fmt.Println(err)
		}
		fmt.Println(<-events)
	}

	fmt.Println(client.SubmitCommand(ctx, "node-1", metafora.StopTask("a")))
	fmt.Println(<-events)
	fmt.Println(client.SubmitCommand(ctx, "node-1", metafora.Drain())) // Unfreeze undoes it
	fmt.Println(<-events)
	fmt.Println("draining:", node.Draining(), "frozen:", node.Frozen())

	err = client.SubmitCommand(ctx, "node-2", metafora.Freeze())
	fmt.Println("no such node:", errors.Is(err, metafora.ErrNoNode))
	err = client.SubmitCommand(ctx, "node-1", metafora.Command{Name: "explode"})
	fmt.Println("no such command:", errors.Is(err, metafora.ErrInvalidCommand))
	cancel()
	fmt.Println("ended:", <-ended)
	// Output:
	// a runs
	// b runs
	// <nil>
	// a stops
	// <nil>
	// b stops
	// draining: true frozen: true
	// no such node: true
	// no such command: true
	// ended: <nil>
}
