package metafora_test

import (
	"context"
	"fmt"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
)

// AtMost is a Balancer for a node that can run so many tasks and no more.
type AtMost struct {
	N  int
	bc metafora.BalancerContext
}

func (b *AtMost) Init(bc metafora.BalancerContext) { b.bc = bc }

// CanClaim leaves a task to other nodes for a second when the node is full.
// Claims in flight count, too.
func (b *AtMost) CanClaim(metafora.Task) (until time.Time, ok bool) {
	return time.Now().Add(time.Second), b.bc.Count() < b.N
}

// Balance lets go of what is too much.
func (b *AtMost) Balance() []string {
	var release []string
	for _, t := range b.bc.Tasks()[min(b.N, len(b.bc.Tasks())):] {
		release = append(release, t.ID())
	}
	return release
}

// A Balancer of the program's own decides which tasks a node claims.
func ExampleBalancer() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	broker := memory.NewBroker()
	for i := range 5 {
		if err := broker.Client().SubmitTask(ctx, metafora.NewTask(fmt.Sprint("task-", i))); err != nil {
			fmt.Println(err)
		}
	}
	running := make(chan string)
	handler := metafora.SimpleHandler(func(_ context.Context, t metafora.Task, stop <-chan struct{}) bool {
		running <- t.ID()
		<-stop
		return false
	})
	node, err := metafora.NewConsumer(broker.Coordinator("node-1"), handler, &AtMost{N: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error)
	go func() { ended <- node.Run(ctx) }()
	fmt.Println(<-running != "", <-running != "")
	select {
	case id := <-running:
		fmt.Println("a third one:", id)
	case <-time.After(20 * time.Millisecond):
		fmt.Println(node.Counts().Running, "run")
	}
	cancel()
	fmt.Println("ended:", <-ended)
	// Output:
	// true true
	// 2 run
	// ended: <nil>
}
