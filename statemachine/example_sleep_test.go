package statemachine_test

import (
	"context"
	"fmt"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/statemachine"
)

// A task that works in the small hours sleeps until then. Its deadline is kept
// at the broker: whichever node owns the task then wakes it.
func Example_sleep() {
	ctx, shutdown := context.WithCancel(context.Background())
	defer shutdown()
	wake := time.Now().Add(20 * time.Millisecond)
	done := make(chan struct{})
	backup := func(_ context.Context, task metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
		select {
		case m := <-commands: // Always obey, Release above all.
			return m
		default:
		}
		if time.Now().Before(wake) {
			fmt.Println(task.ID(), "goes to sleep")
			return statemachine.Sleep(wake)
		}
		fmt.Println(task.ID(), "is awake, and done")
		close(done)
		return statemachine.Complete()
	}
	node, err := memory.NewBroker().NewService("node-1", statemachine.Config{
		Handler:  backup,
		Balancer: func(cs metafora.ClusterState) metafora.Balancer { return balance.NewRendezvous(cs) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	stopped := make(chan error)
	go func() { stopped <- node.Run(ctx) }()

	if err := node.Client.SubmitTask(ctx, metafora.NewTask("backup")); err != nil {
		fmt.Println(err)
	}
	<-done
	shutdown()
	fmt.Println(<-stopped)
	// Output:
	// backup goes to sleep
	// backup is awake, and done
	// <nil>
}
