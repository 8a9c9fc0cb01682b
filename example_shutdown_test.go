package metafora_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
)

// A program ends its node with the context of Run, for instance one from
// signal.NotifyContext, or with Shutdown. Handlers are asked to stop; those that
// have not returned at the drain timeout see their context end.
func ExampleConsumer_Shutdown() {
	broker := memory.NewBroker()
	client := broker.Client()
	ctx := context.Background()
	running := make(chan string)
	handler := metafora.SimpleHandler(func(ctx context.Context, t metafora.Task, stop <-chan struct{}) bool {
		running <- t.ID()
		if t.ID() == "polite" {
			<-stop
			return false
		}
		<-ctx.Done() // not asked to stop is what it likes
		fmt.Println(t.ID(), "must leave:", context.Cause(ctx))
		return false
	})
	node, err := metafora.NewConsumer(broker.Coordinator("node-1"), handler, balance.All(),
		metafora.WithDrainTimeout(10*time.Millisecond))
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx) }()
	for _, id := range []string{"polite", "stubborn"} {
		if err := client.SubmitTask(ctx, metafora.NewTask(id)); err != nil {
			fmt.Println(err)
		}
		fmt.Println(<-running, "runs")
	}

	node.Shutdown() // returns when Run has
	err = <-ended
	fmt.Println("ended:", err, errors.Is(err, metafora.ErrHandlerStuck))
	tasks, err := client.Tasks(ctx)
	for _, t := range tasks {
		fmt.Printf("%s is there for the next node, owned by %q\n", t.ID, t.Owner)
	}
	// Output:
	// polite runs
	// stubborn runs
	// stubborn must leave: metafora: drain timeout passed
	// ended: <nil> false
	// polite is there for the next node, owned by ""
	// stubborn is there for the next node, owned by ""
}
