package metafora_test

import (
	"context"
	"fmt"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
)

// The Coordinators of this module are a ClusterState, too: what a node knows of
// the others, at no cost. Balancers are given it.
func ExampleClusterState() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	broker := memory.NewBroker()
	running := make(chan struct{})
	handler := metafora.SimpleHandler(func(_ context.Context, _ metafora.Task, stop <-chan struct{}) bool {
		running <- struct{}{}
		<-stop
		return false
	})
	coord := broker.Coordinator("node-1", memory.WithWeight(2), memory.WithLabels(map[string]string{"zone": "a"}))
	node, err := metafora.NewConsumer(coord, handler, balance.NewRendezvous(coord))
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error)
	go func() { ended <- node.Run(ctx) }()
	if err := broker.Client().SubmitTasks(ctx, []metafora.Task{metafora.NewTask("a"), metafora.NewTask("b")}); err != nil {
		fmt.Println(err)
	}
	<-running
	<-running

	var cluster metafora.ClusterState = coord
	for _, n := range cluster.Nodes() {
		fmt.Println(n.Name, n.Weight, n.Labels["zone"], n.Accepting, cluster.NodeTaskCount(n.Name))
	}
	cancel()
	fmt.Println("ended:", <-ended)
	// Output:
	// node-1 2 a true 2
	// ended: <nil>
}
