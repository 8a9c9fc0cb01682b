package metafora_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
)

// A service embeds a node: it needs a Coordinator, a function that runs a task,
// and a Balancer. The README shows this function.
func Example_embed() {
	broker := memory.NewBroker() // in production: package backend/etcd
	coord := broker.Coordinator("node-1")
	finished := make(chan string, 1)
	work := func(ctx context.Context, t metafora.Task, stop <-chan struct{}) (done bool) {
		claim, _ := metafora.ClaimFromContext(ctx)
		fmt.Println("running", t.ID(), "on", claim.Node)
		select {
		case <-time.After(10 * time.Millisecond): // the work
			finished <- t.ID()
			return true // done, never runs again
		case <-stop: // asked to stop: another node takes over
			return false
		case <-ctx.Done(): // the claim is lost: leave at once
			return false
		}
	}
	node, err := metafora.NewConsumer(coord, metafora.SimpleHandler(work), balance.NewRendezvous(coord))
	if err != nil {
		log.Fatal(err)
	}
	ctx, shutdown := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- node.Run(ctx) }()

	if err := broker.Client().SubmitTask(ctx, metafora.NewTask("report-42")); err != nil {
		log.Fatal(err)
	}
	fmt.Println("finished", <-finished)
	shutdown()
	fmt.Println("ended:", <-ended)
	// Output:
	// running report-42 on node-1
	// finished report-42
	// ended: <nil>
}
