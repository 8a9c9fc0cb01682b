package memory_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/statemachine"
)

// printer is a CoordinatorContext that prints what it hears. A program has a
// metafora.Consumer in its place, which also makes the calls of the examples.
type printer struct{}

func (printer) Lost(c metafora.Claim, cause error) { fmt.Printf("lost %s: %v\n", c.TaskID, cause) }
func (printer) ClusterChanged()                    {}

func Example() {
	ctx := context.Background()
	broker := memory.NewBroker()
	if err := broker.Client().SubmitTask(ctx, metafora.NewTask("t1")); err != nil {
		log.Fatal(err)
	}

	coord := broker.Coordinator("node-1")
	if err := coord.Init(ctx, printer{}); err != nil {
		log.Fatal(err)
	}
	defer coord.Close()
	tasks := make(chan metafora.Task)
	go coord.Watch(ctx, tasks)

	claim, err := coord.Claim(ctx, <-tasks)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s runs on %s\n", claim.TaskID, claim.Node)
	if err := coord.Done(ctx, claim); err != nil {
		log.Fatal(err)
	}
	_, err = broker.Client().Task(ctx, "t1")
	fmt.Println("gone:", errors.Is(err, metafora.ErrNoTask))
	// Output:
	// t1 runs on node-1
	// gone: true
}

// exampleNode returns a node that has joined and claimed the tasks.
func exampleNode(broker *memory.Broker, name string, ids ...string) (*memory.Coordinator, []metafora.Claim) {
	ctx := context.Background()
	coord := broker.Coordinator(name)
	if err := coord.Init(ctx, printer{}); err != nil {
		log.Fatal(err)
	}
	var claims []metafora.Claim
	for _, id := range ids {
		claim, err := coord.Claim(ctx, metafora.NewTask(id))
		if err != nil {
			log.Fatal(err)
		}
		claims = append(claims, claim)
	}
	return coord, claims
}

func ExampleBroker_ExpireLease() {
	ctx := context.Background()
	broker := memory.NewBroker()
	if err := broker.Client().SubmitTask(ctx, metafora.NewTask("t1")); err != nil {
		log.Fatal(err)
	}
	coord, claims := exampleNode(broker, "node-1", "t1")
	defer coord.Close()

	broker.ExpireLease("node-1")
	fmt.Println("claimable:", coord.Claimable("t1"))
	fmt.Println("done:", errors.Is(coord.Done(ctx, claims[0]), metafora.ErrNotOwner))
	// Output:
	// lost t1: metafora: lease lost
	// claimable: true
	// done: true
}

func ExampleBroker_Kill() {
	ctx := context.Background()
	broker := memory.NewBroker()
	crashed, _ := exampleNode(broker, "node-1")
	defer crashed.Close()

	broker.Kill("node-1")
	_, err := crashed.Claim(ctx, metafora.NewTask("t1"))
	fmt.Println("killed:", errors.Is(err, memory.ErrKilled))

	successor := broker.Coordinator("node-1")
	defer successor.Close()
	err = successor.Init(ctx, printer{})
	fmt.Println("name taken until the lease ends:", errors.Is(err, metafora.ErrNodeExists))
	// Output:
	// killed: true
	// name taken until the lease ends: true
}

func ExampleBroker_Partition() {
	ctx := context.Background()
	broker := memory.NewBroker()
	if err := broker.Client().SubmitTask(ctx, metafora.NewTask("t1")); err != nil {
		log.Fatal(err)
	}
	coord, claims := exampleNode(broker, "node-1", "t1")
	defer coord.Close()

	broker.Partition("node-1")
	fmt.Println("unreachable:", errors.Is(coord.Done(ctx, claims[0]), memory.ErrUnreachable))
	broker.Heal("node-1")
	fmt.Println("done:", coord.Done(ctx, claims[0]) == nil)
	// Output:
	// unreachable: true
	// done: true
}

func ExampleCoordinator_StateStore() {
	ctx := context.Background()
	broker := memory.NewBroker()
	client := broker.Client()
	if err := client.SubmitTask(ctx, metafora.NewTask("t1")); err != nil {
		log.Fatal(err)
	}
	coord, claims := exampleNode(broker, "node-1", "t1")
	defer coord.Close()

	paused := statemachine.State{Code: statemachine.Paused, Since: time.Now()}
	if err := coord.StateStore().Store(ctx, claims[0], paused, 0); err != nil {
		log.Fatal(err)
	}
	state, err := client.State(ctx, "t1")
	fmt.Println(state.Code, err)
	// Output:
	// paused <nil>
}

func ExampleCoordinator_CommandListener() {
	ctx := context.Background()
	broker := memory.NewBroker()
	client := broker.Client()
	if err := client.SubmitTask(ctx, metafora.NewTask("t1")); err != nil {
		log.Fatal(err)
	}
	coord, claims := exampleNode(broker, "node-1", "t1")
	defer coord.Close()

	commands, stop := coord.CommandListener().Listen(claims[0])
	defer stop()
	if err := client.Send(ctx, "t1", statemachine.Pause()); err != nil {
		log.Fatal(err)
	}
	command := <-commands
	fmt.Println(command.Message.Code)
	if err := coord.CommandListener().Handled(ctx, claims[0], command.ID); err != nil {
		log.Fatal(err)
	}
	// Output:
	// pause
}

// A report is a task with properties.
type report struct {
	id    string
	Month string `json:"month"`
}

func (r report) ID() string { return r.id }

func ExampleWithTaskFunc() {
	ctx := context.Background()
	broker := memory.NewBroker(memory.WithTaskFunc(func(id string, props []byte) (metafora.Task, error) {
		r := report{id: id}
		return r, json.Unmarshal(props, &r)
	}))
	if err := broker.Client().SubmitTask(ctx, report{"r1", "May"}); err != nil {
		log.Fatal(err)
	}
	coord, _ := exampleNode(broker, "node-1")
	defer coord.Close()
	tasks := make(chan metafora.Task)
	go coord.Watch(ctx, tasks)
	fmt.Printf("%+v\n", <-tasks)
	// Output:
	// {id:r1 Month:May}
}
