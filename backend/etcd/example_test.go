package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/backend/etcd/embedded"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/statemachine"
)

// exampleEtcd starts an etcd for an example, and returns a client of it. Programs
// call Dial with the endpoints of theirs.
func exampleEtcd() (cli *clientv3.Client, stop func()) {
	srv, err := embedded.Start(context.Background(), embedded.Config{NoFsync: true})
	if err != nil {
		log.Fatal(err)
	}
	if cli, err = srv.Client(); err != nil {
		log.Fatal(err)
	}
	return cli, func() {
		if err := srv.Close(); err != nil { // closes cli, too
			log.Fatal(err)
		}
	}
}

// printer is a CoordinatorContext that prints what it hears. A program has a
// metafora.Consumer in its place, which also makes the calls of the examples.
type printer struct{}

func (printer) Lost(c metafora.Claim, cause error) { fmt.Printf("lost %s: %v\n", c.TaskID, cause) }
func (printer) ClusterChanged()                    {}

// joined returns a node that has joined and announces tasks.
func joined(cli *clientv3.Client, name string) (*etcd.Coordinator, <-chan metafora.Task) {
	coord, err := etcd.NewCoordinator(cli, name, etcd.Options{})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if err := coord.Init(ctx, printer{}); err != nil {
		log.Fatal(err)
	}
	tasks := make(chan metafora.Task)
	go coord.Watch(ctx, tasks) // until Close
	return coord, tasks
}

// submitted returns a client that has submitted a task.
func submitted(cli *clientv3.Client, id string) *etcd.Client {
	client, err := etcd.NewClient(cli, etcd.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := client.SubmitTask(context.Background(), metafora.NewTask(id)); err != nil {
		log.Fatal(err)
	}
	return client
}

// A node on etcd: a Coordinator, a function that runs a task, and a Balancer.
func Example() {
	cli, stop := exampleEtcd()
	defer stop()
	coord, err := etcd.NewCoordinator(cli, "node-1", etcd.Options{Namespace: "/prod"})
	if err != nil {
		log.Fatal(err)
	}
	finished := make(chan string, 1)
	handler := metafora.SimpleHandler(func(ctx context.Context, t metafora.Task, _ <-chan struct{}) bool {
		claim, _ := metafora.ClaimFromContext(ctx)
		fmt.Println(t.ID(), "runs on", claim.Node)
		finished <- t.ID()
		return true
	})
	node, err := metafora.NewConsumer(coord, handler, balance.NewRendezvous(coord))
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- node.Run(ctx) }()

	client, err := etcd.NewClient(cli, etcd.Options{Namespace: "/prod"})
	if err != nil {
		log.Fatal(err)
	}
	if err := client.SubmitTask(ctx, metafora.NewTask("t1")); err != nil {
		log.Fatal(err)
	}
	fmt.Println("finished", <-finished)
	cancel()
	fmt.Println("ended:", <-ended)
	// Output:
	// t1 runs on node-1
	// finished t1
	// ended: <nil>
}

// The life of a claim, without a Consumer.
func ExampleCoordinator() {
	cli, stop := exampleEtcd()
	defer stop()
	ctx := context.Background()
	client := submitted(cli, "t1")
	a, tasks := joined(cli, "node-a")
	defer a.Close()

	t := <-tasks
	first, err := a.Claim(ctx, t)
	if err != nil {
		log.Fatal(err)
	}
	_, err = a.Claim(ctx, t)
	fmt.Println("again:", errors.Is(err, metafora.ErrClaimed))

	if err := a.Release(ctx, first); err != nil { // for any node to take
		log.Fatal(err)
	}
	second, err := a.Claim(ctx, <-tasks)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the fence grows:", second.Fence > first.Fence)
	fmt.Println("done with the old claim:", errors.Is(a.Done(ctx, first), metafora.ErrNotOwner))
	fmt.Println("done:", a.Done(ctx, second))
	_, err = client.Task(ctx, "t1")
	fmt.Println("gone:", errors.Is(err, metafora.ErrNoTask))
	// Output:
	// again: true
	// the fence grows: true
	// done with the old claim: true
	// done: <nil>
	// gone: true
}

func ExampleNewCoordinator() {
	cli, stop := exampleEtcd()
	defer stop()
	_, err := etcd.NewCoordinator(cli, "node-1", etcd.Options{TTL: 2500e6})
	fmt.Println(err)

	first, _ := joined(cli, "node-1")
	defer first.Close()
	second, err := etcd.NewCoordinator(cli, "node-1", etcd.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer second.Close()
	fmt.Println(second.Init(context.Background(), printer{}))
	// Output:
	// etcd: TTL 2.5s: want whole seconds between 1s and 24h0m0s
	// node "node-1": metafora: node name is taken
}

func ExampleDial() {
	srv, err := embedded.Start(context.Background(), embedded.Config{NoFsync: true}) // stands for your etcd
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	ctx := context.Background()
	cli, err := etcd.Dial(ctx, clientv3.Config{Endpoints: srv.Endpoints()}) // TLS, Username and Password go here
	if err != nil {
		log.Fatal(err)
	}
	defer cli.Close()
	client, err := etcd.NewClient(cli, etcd.Options{})
	if err != nil {
		log.Fatal(err)
	}
	nodes, err := client.Nodes(ctx)
	fmt.Println(len(nodes), "nodes,", err)

	_, err = etcd.Dial(ctx, clientv3.Config{})
	fmt.Println(err)
	// Output:
	// 0 nodes, <nil>
	// etcd: no endpoints
}

func ExampleNewClient() {
	cli, stop := exampleEtcd()
	defer stop()
	ctx := context.Background()
	client := submitted(cli, "t1")
	err := client.SubmitTask(ctx, metafora.NewTask("t1"))
	fmt.Println("twice:", errors.Is(err, metafora.ErrTaskExists))
	err = client.SubmitTasks(ctx, []metafora.Task{metafora.NewTask("t2"), metafora.NewTask("tenant/42")})
	fmt.Println("many:", err)
	tasks, err := client.Tasks(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, t := range tasks {
		fmt.Printf("%q owned by %q\n", t.ID, t.Owner)
	}
	fmt.Println("deleted:", client.DeleteTask(ctx, "t2"))
	fmt.Println(client.SubmitCommand(ctx, "nobody", metafora.Freeze()))
	// Output:
	// twice: true
	// many: <nil>
	// "t1" owned by ""
	// "t2" owned by ""
	// "tenant/42" owned by ""
	// deleted: <nil>
	// command for node "nobody": metafora: no such node
}

// A command to a node.
func ExampleClient_SubmitCommand() {
	cli, stop := exampleEtcd()
	defer stop()
	ctx := context.Background()
	client := submitted(cli, "t1")
	coord, _ := joined(cli, "node-1")
	defer coord.Close()
	if err := client.SubmitCommand(ctx, "node-1", metafora.Freeze()); err != nil {
		log.Fatal(err)
	}
	cmd, err := coord.Command(ctx)
	fmt.Println(cmd.Name, err)
	// Output: freeze <nil>
}

// A node sees the others, and tells them whether it takes tasks.
func ExampleCoordinator_SetAccepting() {
	cli, stop := exampleEtcd()
	defer stop()
	ctx := context.Background()
	a, _ := joined(cli, "node-a")
	defer a.Close()
	if err := a.SetAccepting(ctx, false); err != nil {
		log.Fatal(err)
	}
	b, _ := joined(cli, "node-b")
	defer b.Close()
	for _, n := range b.Nodes() {
		fmt.Println(n.Name, "accepts tasks:", n.Accepting)
	}
	// Output:
	// node-a accepts tasks: false
	// node-b accepts tasks: true
}

// The state of a task is written under its claim only.
func ExampleCoordinator_StateStore() {
	cli, stop := exampleEtcd()
	defer stop()
	ctx := context.Background()
	client := submitted(cli, "t1")
	coord, tasks := joined(cli, "node-1")
	defer coord.Close()
	store := coord.StateStore()
	claim, err := coord.Claim(ctx, <-tasks)
	if err != nil {
		log.Fatal(err)
	}
	_, err = store.Load(ctx, claim)
	fmt.Println("none yet:", errors.Is(err, statemachine.ErrNoState))
	if err := store.Store(ctx, claim, statemachine.State{Code: statemachine.Paused}, 0); err != nil {
		log.Fatal(err)
	}
	st, err := client.State(ctx, "t1")
	fmt.Println(st.Code, err)
	if err := coord.Release(ctx, claim); err != nil {
		log.Fatal(err)
	}
	err = store.Store(ctx, claim, statemachine.State{Code: statemachine.Runnable}, 0)
	fmt.Println("released:", errors.Is(err, metafora.ErrNotOwner))
	// Output:
	// none yet: true
	// paused <nil>
	// released: true
}

// A command to a task waits for whoever owns it, and is removed when handled.
func ExampleCoordinator_CommandListener() {
	cli, stop := exampleEtcd()
	defer stop()
	ctx := context.Background()
	client := submitted(cli, "t1")
	if err := client.Send(ctx, "t1", statemachine.Pause()); err != nil {
		log.Fatal(err)
	}
	coord, tasks := joined(cli, "node-1")
	defer coord.Close()
	listener := coord.CommandListener()
	claim, err := coord.Claim(ctx, <-tasks)
	if err != nil {
		log.Fatal(err)
	}
	commands, unlisten := listener.Listen(claim)
	defer unlisten()
	cmd := <-commands
	fmt.Println(cmd.Message.Code)
	fmt.Println(listener.Handled(ctx, claim, cmd.ID))
	// Output:
	// pause
	// <nil>
}

func ExampleCoordinator_Stats() {
	cli, stop := exampleEtcd()
	defer stop()
	submitted(cli, "t1")
	coord, tasks := joined(cli, "node-1")
	defer coord.Close()
	if _, err := coord.Claim(context.Background(), <-tasks); err != nil {
		log.Fatal(err)
	}
	s := coord.Stats()
	fmt.Println("claims:", s.ClaimsTried, "tried,", s.ClaimsWon, "won")
	fmt.Println("transactions:", s.Transactions) // one to register, one to claim
	fmt.Println("lists:", s.Lists)
	fmt.Println("tasks:", s.Tasks, "known,", s.Owned, "owned")
	// Output:
	// claims: 1 tried, 1 won
	// transactions: 2
	// lists: 3
	// tasks: 1 known, 1 owned
}
