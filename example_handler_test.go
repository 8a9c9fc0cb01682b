package metafora_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
)

// counter is a Handler with methods of its own, for work that has more to it
// than a function.
type counter struct {
	task metafora.Task
	once sync.Once
	stop chan struct{}
}

func newCounter(t metafora.Task) metafora.Handler {
	return &counter{task: t, stop: make(chan struct{})}
}

// Run counts to three, unless it is asked to hand over or must leave at once.
func (c *counter) Run(ctx context.Context) (done bool) {
	for i := 1; i <= 3; i++ {
		select {
		case <-ctx.Done(): // the claim is lost
			return false
		case <-c.stop: // asked to stop
			return false
		default:
			fmt.Println(c.task.ID(), i)
		}
	}
	return true // never runs again
}

// Stop may be called more than once.
func (c *counter) Stop() { c.once.Do(func() { close(c.stop) }) }

// A Handler runs one task. When Run returns true the task is done and gone.
func ExampleHandler() {
	broker := memory.NewBroker()
	client := broker.Client()
	seen := &doneObserver{done: make(chan string, 1)}
	node, err := metafora.NewConsumer(broker.Coordinator("node-1"), newCounter, balance.All(), metafora.WithObserver(seen))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- node.Run(ctx) }()

	if err := client.SubmitTask(ctx, metafora.NewTask("count")); err != nil {
		fmt.Println(err)
	}
	fmt.Println(<-seen.done, "is done")
	left, err := client.Tasks(ctx)
	fmt.Println(len(left), "tasks are left", err)
	cancel()
	fmt.Println("ended:", <-ended)
	// Output:
	// count 1
	// count 2
	// count 3
	// count is done
	// 0 tasks are left <nil>
	// ended: <nil>
}

// doneObserver tells which tasks the broker has removed as done.
type doneObserver struct {
	metafora.NopObserver
	done chan string
}

func (o *doneObserver) Done(c metafora.Claim) { o.done <- c.TaskID }
