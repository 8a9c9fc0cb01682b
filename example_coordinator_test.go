package metafora_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
)

// printer is what a Consumer is to its Coordinator.
type printer struct{}

func (printer) Lost(c metafora.Claim, cause error) { fmt.Println("lost", c, cause) }
func (printer) ClusterChanged()                    {}

// This is what a Consumer does with a Coordinator, for those who write a
// backend. Package backend/backendtest checks that it does what it must.
func ExampleCoordinator() {
	broker := memory.NewBroker()
	client := broker.Client()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var coord metafora.Coordinator = broker.Coordinator("node-1")

	fmt.Println(coord.Init(ctx, printer{}))
	tasks, watched := make(chan metafora.Task), make(chan error)
	go func() { watched <- coord.Watch(ctx, tasks) }()
	if err := client.SubmitTask(ctx, metafora.NewTask("t")); err != nil {
		fmt.Println(err)
	}
	t := <-tasks
	first, err := coord.Claim(ctx, t)
	fmt.Println(first.TaskID, "belongs to", first.Node, err)
	_, err = coord.Claim(ctx, t)
	fmt.Println("once:", errors.Is(err, metafora.ErrClaimed))

	fmt.Println(coord.Release(ctx, first))
	second, err := coord.Claim(ctx, <-tasks)
	fmt.Println("announced again; the fence has grown:", second.Fence > first.Fence, err)
	fmt.Println("an old claim ends nothing:", errors.Is(coord.Done(ctx, first), metafora.ErrNotOwner))
	fmt.Println(coord.Done(ctx, second))
	_, err = coord.Claim(ctx, t)
	fmt.Println("done is final:", errors.Is(err, metafora.ErrNoTask))

	fmt.Println(coord.Close())
	fmt.Println(errors.Is(<-watched, metafora.ErrClosed))
	// Output:
	// <nil>
	// t belongs to node-1 <nil>
	// once: true
	// <nil>
	// announced again; the fence has grown: true <nil>
	// an old claim ends nothing: true
	// <nil>
	// done is final: true
	// <nil>
	// true
}
