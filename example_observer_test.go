package metafora_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
)

// Metrics counts what a node does. It embeds NopObserver for what it leaves out.
type Metrics struct {
	metafora.NopObserver
	claims, done atomic.Int64
	waited       atomic.Int64 // nanoseconds
	last         chan struct{}
}

func (m *Metrics) Claimed(_ metafora.Task, result metafora.ClaimResult, _ time.Duration) {
	if result == metafora.ClaimWon {
		m.claims.Add(1)
	}
}

func (m *Metrics) Running(_ metafora.Claim, sinceAnnounced time.Duration) {
	m.waited.Add(int64(sinceAnnounced))
}

func (m *Metrics) Done(metafora.Claim) {
	if m.done.Add(1) == 3 {
		close(m.last)
	}
}

// An Observer feeds metrics. Its methods are called concurrently and must not
// block.
func ExampleObserver() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	broker := memory.NewBroker()
	tasks := []metafora.Task{metafora.NewTask("a"), metafora.NewTask("b"), metafora.NewTask("c")}
	if err := broker.Client().SubmitTasks(ctx, tasks); err != nil {
		fmt.Println(err)
	}
	handler := metafora.SimpleHandler(func(context.Context, metafora.Task, <-chan struct{}) bool { return true })
	m := &Metrics{last: make(chan struct{})}
	node, err := metafora.NewConsumer(broker.Coordinator("node-1"), handler, balance.All(), metafora.WithObserver(m))
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error)
	go func() { ended <- node.Run(ctx) }()
	<-m.last
	cancel()
	fmt.Println("ended:", <-ended)
	fmt.Println(m.claims.Load(), "claimed,", m.done.Load(), "done")
	// Output:
	// ended: <nil>
	// 3 claimed, 3 done
}
