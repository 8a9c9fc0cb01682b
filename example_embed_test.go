package metafora_test

import (
	"context"
	"fmt"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
)

// A service embeds a node: it needs a Coordinator, a function that runs a task,
// and a Balancer.
func Example_embed() {
	broker := memory.NewBroker()
	coord := broker.Coordinator("node-1")

	handler := metafora.SimpleHandler(func(ctx context.Context, t metafora.Task, stop <-chan struct{}) bool {
		claim, _ := metafora.ClaimFromContext(ctx)
		fmt.Println("running", claim.TaskID, "on", claim.Node)
		select {
		case <-time.After(time.Millisecond): // the work
			return true // done, never runs again
		case <-stop: // asked to stop: hand the task over
			return false
		case <-ctx.Done(): // the claim is lost: leave at once
			return false
		}
	})

	node, err := metafora.NewConsumer(coord, handler, balance.NewRendezvous(coord))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- node.Run(ctx) }()

	client := broker.Client()
	if err := client.SubmitTask(ctx, metafora.NewTask("report-42")); err != nil {
		fmt.Println(err)
	}
	for {
		if ts, _ := client.Tasks(ctx); len(ts) == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	fmt.Println("ended:", <-ended)
	// Output:
	// running report-42 on node-1
	// ended: <nil>
}
