package metafora_test

import (
	"context"
	"fmt"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
)

// onlyA is a Balancer that leaves all tasks but "a" to others, for an hour.
type onlyA struct{}

func (onlyA) Init(metafora.BalancerContext) {}
func (onlyA) Balance() []string             { return nil }

func (onlyA) CanClaim(t metafora.Task) (until time.Time, ok bool) {
	if t.ID() == "a" {
		return time.Time{}, true
	}
	return time.Now().Add(time.Hour), false
}

// Tasks, Task, Ignores, Counts and String tell what a node is doing.
func ExampleConsumer_Tasks() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	broker := memory.NewBroker()
	if err := broker.Client().SubmitTasks(ctx, []metafora.Task{metafora.NewTask("a"), metafora.NewTask("b")}); err != nil {
		fmt.Println(err)
	}
	running := make(chan struct{})
	handler := metafora.SimpleHandler(func(_ context.Context, _ metafora.Task, stop <-chan struct{}) bool {
		close(running)
		<-stop
		return false
	})
	seen := &refusedObserver{refused: make(chan string, 1)}
	node, err := metafora.NewConsumer(broker.Coordinator("node-1"), handler, onlyA{},
		metafora.WithObserver(seen), metafora.WithBalanceDelay(time.Hour))
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error)
	go func() { ended <- node.Run(ctx) }()
	<-running
	<-seen.refused

	fmt.Println(node)
	for _, r := range node.Tasks() {
		fmt.Println("running:", r.ID(), r.Claim.Node, "asked to stop:", !r.Stopped.IsZero())
	}
	_, here := node.Task("b")
	fmt.Println("b runs here:", here)
	for _, d := range node.Ignores() {
		fmt.Println("deferred:", d.ID, "by the", d.Reason, time.Until(d.Until) > time.Minute)
	}
	fmt.Printf("%+v\n", node.Counts())
	cancel()
	fmt.Println("ended:", <-ended)
	// Output:
	// node node-1: 1 running, 0 claiming, 1 deferred
	// running: a node-1 asked to stop: false
	// b runs here: false
	// deferred: b by the balancer true
	// {Running:1 Settling:0 Claiming:0 Deferred:1}
	// ended: <nil>
}

type refusedObserver struct {
	metafora.NopObserver
	refused chan string
}

func (o *refusedObserver) Refused(t metafora.Task, _ time.Time) { o.refused <- t.ID() }
