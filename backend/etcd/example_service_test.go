package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/backend/etcd/embedded"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/statemachine"
)

// The whole of a service whose tasks can be paused, resumed and killed, and a
// client that does so.
func ExampleNewService() {
	ctx, shutdown := context.WithCancel(context.Background())
	defer shutdown()
	srv, err := embedded.Start(ctx, embedded.Config{NoFsync: true}) // stands for your etcd
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	cli, err := etcd.Dial(ctx, clientv3.Config{Endpoints: srv.Endpoints()})
	if err != nil {
		log.Fatal(err)
	}
	defer cli.Close()

	events := make(chan string)
	node, err := etcd.NewService(cli, "node-1", statemachine.Config{
		Handler: func(_ context.Context, t metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
			events <- "running"
			m := <-commands // A real handler works meanwhile.
			events <- "told to " + m.String()
			return m
		},
		Balancer: func(cs metafora.ClusterState) metafora.Balancer { return balance.NewRendezvous(cs) },
	}, etcd.Options{Namespace: "/prod"})
	if err != nil {
		log.Fatal(err)
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
