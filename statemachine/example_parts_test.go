package statemachine_test

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

// A program that makes its Coordinator itself has the rest tied together.
func ExampleNewConsumer() {
	coord := memory.NewBroker().Coordinator("node-1", memory.WithWeight(2))
	node, err := statemachine.NewConsumer(coord, statemachine.Config{
		Handler:  obey,
		Balancer: func(cs metafora.ClusterState) metafora.Balancer { return balance.NewRendezvous(cs) },
	})
	if err != nil {
		log.Fatal(err)
	}
	go node.Shutdown()
	fmt.Println(node.Run(context.Background()))

	_, err = statemachine.NewConsumer(coord, statemachine.Config{Handler: obey})
	fmt.Println(err)
	// Output:
	// <nil>
	// statemachine: new consumer: nil Balancer
}

// A node may run tasks of both kinds: those with a state, and plain ones.
func ExampleHandlerFunc() {
	coord := memory.NewBroker().Coordinator("node-1")
	stateful := statemachine.HandlerFunc(obey, coord.StateStore(), coord.CommandListener())
	plain := metafora.SimpleHandler(func(context.Context, metafora.Task, <-chan struct{}) bool { return true })
	handler := func(t metafora.Task) metafora.Handler {
		if t.ID() == "plain" {
			return plain(t)
		}
		return stateful(t)
	}
	node, err := metafora.NewConsumer(coord, handler, balance.All())
	if err != nil {
		log.Fatal(err)
	}
	go node.Shutdown()
	fmt.Println(node.Run(context.Background()))
	// Output: <nil>
}

// A test of a handler needs no cluster: it runs a task's Machine by hand, under
// a claim of its own.
func ExampleNew() {
	ctx := context.Background()
	broker := memory.NewBroker()
	client := broker.Client()
	task := metafora.NewTask("task-1")
	if err := client.SubmitTask(ctx, task); err != nil {
		log.Fatal(err)
	}
	coord := broker.Coordinator("node-1")
	if err := coord.Init(ctx, bystander{}); err != nil {
		log.Fatal(err)
	}
	defer coord.Close()
	claim, err := coord.Claim(ctx, task)
	if err != nil {
		log.Fatal(err)
	}

	m := statemachine.New(task, obey, coord.StateStore(), coord.CommandListener())
	if err := client.Send(ctx, "task-1", statemachine.Complete()); err != nil {
		log.Fatal(err)
	}
	done := m.Run(metafora.ContextWithClaim(ctx, claim, coord))
	state, _ := m.State()
	fmt.Println(done, state)
	// Output: true completed
}

// What a node runs, it can tell the states of.
func ExampleMachine_State() {
	ctx, shutdown := context.WithCancel(context.Background())
	defer shutdown()
	running := make(chan struct{})
	node, err := memory.NewBroker().NewService("node-1", statemachine.Config{
		Handler: func(_ context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
			close(running)
			return <-commands
		},
		Balancer: func(metafora.ClusterState) metafora.Balancer { return balance.All() },
	})
	if err != nil {
		log.Fatal(err)
	}
	stopped := make(chan error)
	go func() { stopped <- node.Run(ctx) }()
	if err := node.Client.SubmitTask(ctx, metafora.NewTask("task-1")); err != nil {
		log.Fatal(err)
	}
	<-running
	for _, t := range node.Tasks() {
		state, ok := t.Handler.(*statemachine.Machine).State()
		fmt.Println(t.ID(), state.Code, ok)
	}
	shutdown()
	fmt.Println(<-stopped)
	// Output:
	// task-1 runnable true
	// <nil>
}

// An error handler may ask a person: it leaves the task in state fault, until an
// operator sends it to sleep or lets it fail.
func ExampleWithErrHandler() {
	askSomeone := func(task metafora.Task, errs []statemachine.TaskError) (statemachine.Message, []statemachine.TaskError) {
		fmt.Println(task.ID(), "needs help:", errs[len(errs)-1].Error)
		return statemachine.Checkpoint(), errs
	}
	ctx, shutdown := context.WithCancel(context.Background())
	defer shutdown()
	asked := make(chan struct{})
	node, err := memory.NewBroker().NewService("node-1", statemachine.Config{
		Handler: func(context.Context, metafora.Task, <-chan statemachine.Message) statemachine.Message {
			defer close(asked)
			return statemachine.Error(errors.New("disk full"))
		},
		Balancer: func(metafora.ClusterState) metafora.Balancer { return balance.All() },
		Machine:  []statemachine.Option{statemachine.WithErrHandler(askSomeone)},
	})
	if err != nil {
		log.Fatal(err)
	}
	stopped := make(chan error)
	go func() { stopped <- node.Run(ctx) }()
	if err := node.Client.SubmitTask(ctx, metafora.NewTask("backup")); err != nil {
		log.Fatal(err)
	}
	<-asked
	err = node.Client.Send(ctx, "backup", statemachine.Error(errors.New("not worth it")))
	if err != nil {
		log.Fatal(err)
	}
	for !errors.Is(err, metafora.ErrNoTask) { // Until it is over.
		time.Sleep(time.Millisecond)
		_, err = node.Client.Task(ctx, "backup")
	}
	state, err := node.Client.State(ctx, "backup")
	fmt.Println(state, err)
	shutdown()
	fmt.Println(<-stopped)
	// Output:
	// backup needs help: disk full
	// failed (2 errors) <nil>
	// <nil>
}

// A backend that calls back has its Listen for one line.
func ExampleCommandChannel() {
	var deliver func(statemachine.Command)
	listenFunc := func(d func(statemachine.Command)) (stop func()) {
		deliver = d
		return func() { deliver = nil }
	}
	commands, stop := statemachine.CommandChannel(listenFunc)
	deliver(statemachine.Command{ID: 1, Message: statemachine.Pause()})
	deliver(statemachine.Command{ID: 2, Message: statemachine.Kill()})
	fmt.Println((<-commands).Message, "is the newest")
	stop()
	// Output: kill is the newest
}
