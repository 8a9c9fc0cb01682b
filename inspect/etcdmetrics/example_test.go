package etcdmetrics_test

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/backend/etcd/embedded"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/inspect/etcdmetrics"
)

// The collector needs no more than the Coordinator. Here a node claims ten tasks.
func ExampleNewCollector() {
	ctx, shutdown := context.WithCancel(context.Background())
	defer shutdown()
	server, err := embedded.Start(ctx, embedded.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	cli, err := etcd.Dial(ctx, clientv3.Config{Endpoints: server.Endpoints()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cli.Close()
	options := etcd.Options{Namespace: "/prod"}
	coord, err := etcd.NewCoordinator(cli, "node-1", options)
	if err != nil {
		fmt.Println(err)
		return
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(etcdmetrics.NewCollector(coord))

	started := make(chan struct{})
	consumer, err := metafora.NewConsumer(coord, metafora.SimpleHandler(func(_ context.Context, _ metafora.Task, stop <-chan struct{}) bool {
		started <- struct{}{}
		<-stop
		return false
	}), balance.All())
	if err != nil {
		fmt.Println(err)
		return
	}
	stopped := make(chan error)
	go func() { stopped <- consumer.Run(ctx) }()
	client, err := etcd.NewClient(cli, options)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range 10 {
		if err := client.SubmitTask(ctx, metafora.NewTask(fmt.Sprint("task-", i))); err != nil {
			fmt.Println(err)
		}
		<-started
	}

	families, err := registry.Gather()
	if err != nil {
		fmt.Println(err)
	}
	for _, f := range families {
		switch f.GetName() {
		case "metafora_etcd_index_tasks":
			fmt.Println("tasks:", f.GetMetric()[0].GetGauge().GetValue())
		case "metafora_etcd_leases_lost_total":
			fmt.Println("leases lost:", f.GetMetric()[0].GetCounter().GetValue())
		}
	}
	shutdown()
	fmt.Println(<-stopped)
	// Output:
	// tasks: 10
	// leases lost: 0
	// <nil>
}
