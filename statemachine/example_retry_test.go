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

// A handler that answers Error is called again later: here after 1, then 2
// milliseconds. At its fourth error the task would fail.
func Example_retry() {
	ctx, shutdown := context.WithCancel(context.Background())
	defer shutdown()
	attempts := 0
	fetch := func(context.Context, metafora.Task, <-chan statemachine.Message) statemachine.Message {
		attempts++
		if attempts < 3 {
			return statemachine.Error(errors.New("connection refused"))
		}
		return statemachine.Complete()
	}
	node, err := memory.NewBroker().NewService("node-1", statemachine.Config{
		Handler:  fetch,
		Balancer: func(cs metafora.ClusterState) metafora.Balancer { return balance.NewRendezvous(cs) },
		Machine: []statemachine.Option{
			statemachine.WithErrHandler(statemachine.BackoffErrHandler(statemachine.Backoff{
				Base: time.Millisecond, Max: time.Minute, Limit: 4,
			})),
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	stopped := make(chan error)
	go func() { stopped <- node.Run(ctx) }()

	err = node.Client.SubmitTask(ctx, metafora.NewTask("fetch"))
	for !errors.Is(err, metafora.ErrNoTask) { // Until it is done.
		time.Sleep(time.Millisecond)
		_, err = node.Client.Task(ctx, "fetch")
	}
	shutdown()
	fmt.Println(<-stopped, "after", attempts, "attempts")
	state, err := node.Client.State(context.Background(), "fetch")
	fmt.Println(state.Code, err)
	for _, e := range state.Errors {
		fmt.Println("error:", e.Error)
	}
	// Output:
	// <nil> after 3 attempts
	// completed <nil>
	// error: connection refused
	// error: connection refused
}
