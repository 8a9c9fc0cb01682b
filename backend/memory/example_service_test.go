package memory_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/statemachine"
)

// A service's own test runs it in memory: the Config is the one that
// etcd.NewService gets in production.
func ExampleBroker_NewService() {
	running := make(chan string)
	service := statemachine.Config{
		Handler: func(_ context.Context, t metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
			running <- t.ID()
			return <-commands // the work
		},
		Balancer: func(cs metafora.ClusterState) metafora.Balancer { return balance.NewRendezvous(cs) },
	}
	node, err := memory.NewBroker().NewService("node-1", service)
	if err != nil {
		log.Fatal(err)
	}
	ctx, shutdown := context.WithCancel(context.Background())
	defer shutdown()
	stopped := make(chan error)
	go func() { stopped <- node.Run(ctx) }()

	err = node.Client.SubmitTask(ctx, metafora.NewTask("report-42"))
	fmt.Println("running", <-running, err)
	err = node.Client.Send(ctx, "report-42", statemachine.Kill())
	for !errors.Is(err, metafora.ErrNoTask) { // Until it is done.
		time.Sleep(time.Millisecond)
		_, err = node.Client.Task(ctx, "report-42")
	}
	state, err := node.Client.State(ctx, "report-42")
	fmt.Println(state, err)
	shutdown()
	fmt.Println(<-stopped)
	// Output:
	// running report-42 <nil>
	// killed <nil>
	// <nil>
}
