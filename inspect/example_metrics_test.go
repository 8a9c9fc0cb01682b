package inspect_test

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/inspect"
)

// Metrics are told what a Consumer does. Labels of the program's own can be added
// where they are registered.
func ExampleNewMetrics() {
	ctx, shutdown := context.WithCancel(context.Background())
	broker := memory.NewBroker()
	coord := broker.Coordinator("node-1")
	metrics := inspect.NewMetrics(coord.Name())
	handler := metafora.SimpleHandler(func(context.Context, metafora.Task, <-chan struct{}) bool {
		shutdown() // the node stops once this task is done
		return true
	})
	consumer, err := metafora.NewConsumer(coord, handler, balance.All(), metafora.WithObserver(metrics))
	if err != nil {
		fmt.Println(err)
		return
	}
	registry := prometheus.NewRegistry()
	prometheus.WrapRegistererWith(prometheus.Labels{"region": "north"}, registry).MustRegister(metrics)

	if err := broker.Client().SubmitTask(ctx, metafora.NewTask("task-1")); err != nil {
		fmt.Println(err)
	}
	fmt.Println(consumer.Run(ctx))
	printMetric(registry, "metafora_tasks_done_total")
	// Output:
	// <nil>
	// metafora_tasks_done_total node=node-1 region=north: 1
}

// A collector measures a node, running or not.
func ExampleNewCollector() {
	coord := memory.NewBroker().Coordinator("node-1")
	handler := metafora.SimpleHandler(func(context.Context, metafora.Task, <-chan struct{}) bool { return true })
	consumer, err := metafora.NewConsumer(coord, handler, balance.All())
	if err != nil {
		fmt.Println(err)
		return
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(inspect.NewCollector(consumer, coord))
	printMetric(registry, "metafora_tasks")
	// Output:
	// metafora_tasks node=node-1 state=claiming: 0
	// metafora_tasks node=node-1 state=deferred: 0
	// metafora_tasks node=node-1 state=running: 0
	// metafora_tasks node=node-1 state=settling: 0
}

// audit is an Observer that writes down which tasks are done.
type audit struct{ metafora.NopObserver }

func (audit) Done(c metafora.Claim) { fmt.Println("done:", c.TaskID) }

// A Consumer has one Observer, which can be several.
func ExampleObservers() {
	metrics := inspect.NewMetrics("node-1")
	observer := inspect.Observers(metrics, audit{})

	observer.Done(metafora.Claim{TaskID: "task-1"}) // as a Consumer calls it
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics)
	printMetric(registry, "metafora_tasks_done_total")
	// Output:
	// done: task-1
	// metafora_tasks_done_total node=node-1: 1
}

// printMetric prints a counter or gauge.
func printMetric(g prometheus.Gatherer, name string) {
	families, err := g.Gather()
	if err != nil {
		fmt.Println(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			fmt.Print(name)
			for _, l := range m.GetLabel() {
				fmt.Print(" ", l.GetName(), "=", l.GetValue())
			}
			fmt.Printf(": %v\n", m.GetCounter().GetValue()+m.GetGauge().GetValue())
		}
	}
}
