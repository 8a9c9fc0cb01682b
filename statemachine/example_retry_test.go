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
	broker := memory.NewBroker()
	node, client := broker.Coordinator("node-1"), broker.Client()
	attempts := 0
	fetch := func(context.Context, metafora.Task, <-chan statemachine.Message) statemachine.Message {
		attempts++
		if attempts < 3 {
			return statemachine.Error(errors.New("connection refused"))
		}
		return statemachine.Complete()
	}
	handler := statemachine.HandlerFunc(fetch, node.StateStore(), node.CommandListener(),
		statemachine.WithErrHandler(statemachine.BackoffErrHandler(statemachine.Backoff{
			Base: time.Millisecond, Max: time.Minute, Limit: 4,
		})))
	consumer, err := metafora.NewConsumer(node, handler, balance.All())
	if err != nil {
		fmt.Println(err)
		return
	}
	stopped := make(chan error)
	go func() { stopped <- consumer.Run(ctx) }()

	err = client.SubmitTask(ctx, metafora.NewTask("fetch"))
	for !errors.Is(err, metafora.ErrNoTask) { // Until it is done.
		time.Sleep(time.Millisecond)
		_, err = client.Task(ctx, "fetch")
	}
	shutdown()
	fmt.Println(<-stopped, "after", attempts, "attempts")
	state, err := client.State(context.Background(), "fetch")
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
