package inspect_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/inspect"
	"github.com/metafora-go/metafora/statemachine"
)

// A client reads all tasks of a node, some at a time, and what state they are in.
func ExampleHandler() {
	ctx, shutdown := context.WithCancel(context.Background())
	defer shutdown()
	broker := memory.NewBroker()
	coord := broker.Coordinator("node-1")
	started := make(chan struct{})
	work := func(_ context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
		started <- struct{}{}
		return <-commands
	}
	consumer, err := metafora.NewConsumer(coord, statemachine.HandlerFunc(work, coord.StateStore(), coord.CommandListener()), balance.All())
	if err != nil {
		fmt.Println(err)
		return
	}
	stopped := make(chan error)
	go func() { stopped <- consumer.Run(ctx) }()
	for _, id := range []string{"a", "b", "c"} {
		if err := broker.Client().SubmitTask(ctx, metafora.NewTask(id)); err != nil {
			fmt.Println(err)
		}
		<-started
	}
	server := httptest.NewServer(inspect.Handler(consumer))
	defer server.Close()

	for after, more := "", true; more; {
		resp, err := http.Get(server.URL + "/tasks?state=runnable&limit=2&after=" + after)
		if err != nil {
			fmt.Println(err)
			return
		}
		var page inspect.Tasks
		err = json.NewDecoder(resp.Body).Decode(&page)
		_ = resp.Body.Close()
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, t := range page.Tasks {
			fmt.Println(t.ID, "on", page.Node, "is", t.State)
		}
		after, more = page.Next, page.Next != ""
	}
	http.DefaultClient.CloseIdleConnections()
	shutdown()
	fmt.Println(<-stopped)
	// Output:
	// a on node-1 is runnable
	// b on node-1 is runnable
	// c on node-1 is runnable
	// <nil>
}
