package statemachine_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/statemachine"
)

// Commands change the state of a running task from outside: one pauses it, the
// next resumes it, the last one kills it.
func Example_commands() {
	ctx, shutdown := context.WithCancel(context.Background())
	defer shutdown()
	events := make(chan string)
	work := func(_ context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
		events <- "running"
		m := <-commands // A real handler also works meanwhile.
		events <- "told to " + m.String()
		return m
	}
	node, err := memory.NewBroker().NewService("node-1", statemachine.Config{
		Handler:  work,
		Balancer: func(cs metafora.ClusterState) metafora.Balancer { return balance.NewRendezvous(cs) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	stopped := make(chan error)
	go func() { stopped <- node.Run(ctx) }()

	err = node.Client.SubmitTask(ctx, metafora.NewTask("task-1"))
	fmt.Println(<-events, err)
	for _, m := range []statemachine.Message{statemachine.Pause(), statemachine.Run(), statemachine.Kill()} {
		err = node.Client.Send(ctx, "task-1", m)
		fmt.Println(<-events, err)
	}
	for !errors.Is(err, metafora.ErrNoTask) { // Until it is done.
		time.Sleep(time.Millisecond)
		_, err = node.Client.Task(ctx, "task-1")
	}
	state, err := node.Client.State(ctx, "task-1")
	fmt.Println(state, err)
	shutdown()
	fmt.Println(<-stopped)
	// Output:
	// running <nil>
	// told to pause <nil>
	// running <nil>
	// told to kill <nil>
	// killed <nil>
	// <nil>
}
