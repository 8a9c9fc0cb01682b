package statemachine_test

import (
	"context"
	"fmt"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/statemachine"
)

// A handler saves its progress when it is told to, and goes on from there: after
// a checkpoint at once, after a release wherever the task runs next.
func Example_checkpoint() {
	ctx, shutdown := context.WithCancel(context.Background())
	defer shutdown()
	pages := make(chan int) // The work: to read these.
	begun := make(chan int)
	saved := 0 // Stands for a database, which would check the fence.
	crawl := func(_ context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
		read := saved
		begun <- read
		for {
			select {
			case n := <-pages:
				read += n
			case m := <-commands:
				saved = read
				return m
			}
		}
	}
	node, err := memory.NewBroker().NewService("node-1", statemachine.Config{
		Handler:  crawl,
		Balancer: func(cs metafora.ClusterState) metafora.Balancer { return balance.NewRendezvous(cs) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	stopped := make(chan error)
	go func() { stopped <- node.Run(ctx) }()

	err = node.Client.SubmitTask(ctx, metafora.NewTask("crawl"))
	fmt.Println("begins at page", <-begun, err)
	for _, m := range []statemachine.Message{statemachine.Checkpoint(), statemachine.Release()} {
		pages <- 100
		err = node.Client.Send(ctx, "crawl", m)
		fmt.Println("goes on after", m, "at page", <-begun, err)
	}
	shutdown()
	fmt.Println(<-stopped)
	// Output:
	// begins at page 0 <nil>
	// goes on after checkpoint at page 100 <nil>
	// goes on after release at page 200 <nil>
	// <nil>
}
