package metafora_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
)

// All options have a default; those that make no sense are refused.
func ExampleNewConsumer() {
	coord := memory.NewBroker().Coordinator("node-1")
	handler := metafora.SimpleHandler(func(context.Context, metafora.Task, <-chan struct{}) bool { return true })

	node, err := metafora.NewConsumer(coord, handler, balance.All(),
		metafora.WithLogger(hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Warn})),
		metafora.WithObserver(metafora.NopObserver{}),
		metafora.WithClaimsInFlight(64),
		metafora.WithBalanceInterval(5*time.Minute),
		metafora.WithBalanceDelay(3*time.Second),
		metafora.WithDrainTimeout(time.Minute),
		metafora.WithStuckGrace(10*time.Second),
		metafora.WithReclaimDelay(2*time.Second),
		metafora.WithRetryBackoff(50*time.Millisecond, 5*time.Second),
		metafora.WithSeed(42), // for simulations: the same draws in each run
	)
	fmt.Println(node, err)

	_, err = metafora.NewConsumer(coord, handler, balance.All(), metafora.WithClaimsInFlight(0), metafora.WithDrainTimeout(-1))
	fmt.Println(err)
	// Output:
	// node node-1: 0 running, 0 claiming, 0 deferred <nil>
	// metafora: new consumer: claims in flight must be at least 1, not 0
	// drain timeout must not be negative, not -1ns
}
