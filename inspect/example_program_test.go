package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/inspect"
)

// A complete node: it runs tasks, and one address serves its metrics, its page
// and its JSON.
func Example_program() {
	ctx, shutdown := context.WithCancel(context.Background())
	defer shutdown()
	broker := memory.NewBroker()
	coord := broker.Coordinator("node-1")
	started := make(chan string)
	handler := metafora.SimpleHandler(func(ctx context.Context, t metafora.Task, stop <-chan struct{}) bool {
		started <- t.ID()
		<-stop
		return false
	})

	metrics := inspect.NewMetrics(coord.Name())
	consumer, err := metafora.NewConsumer(coord, handler, balance.All(), metafora.WithObserver(metrics))
	if err != nil {
		fmt.Println(err)
		return
	}
	registry := prometheus.NewRegistry()
	// With etcd, etcdmetrics.NewCollector(coord) joins them.
	registry.MustRegister(metrics, inspect.NewCollector(consumer, coord))

	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.Handle("/metafora/", http.StripPrefix("/metafora", inspect.Handler(consumer)))
	listener, err := net.Listen("tcp", "127.0.0.1:0") // for operators only
	if err != nil {
		fmt.Println(err)
		return
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: time.Minute}
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	stopped := make(chan error)
	go func() { stopped <- consumer.Run(ctx) }()

	if err := broker.Client().SubmitTask(ctx, metafora.NewTask("report-42")); err != nil {
		fmt.Println(err)
	}
	fmt.Println("running", <-started)
	address := "http://" + listener.Addr().String()
	show(address+"/metafora/", "<title>")
	show(address+"/metafora/tasks", `"total"`)
	show(address+"/metrics", "metafora_claims_total{")

	shutdown()
	fmt.Println("node stopped:", <-stopped)
	if err := server.Close(); err != nil {
		fmt.Println(err)
	}
	fmt.Println("server closed:", errors.Is(<-served, http.ErrServerClosed))
	http.DefaultClient.CloseIdleConnections()
	// Output:
	// running report-42
	// <title>node-1: 1 running</title>
	// ],"total":1}
	// metafora_claims_total{node="node-1",result="failed"} 0
	// metafora_claims_total{node="node-1",result="gone"} 0
	// metafora_claims_total{node="node-1",result="lost"} 0
	// metafora_claims_total{node="node-1",result="won"} 1
	// node stopped: <nil>
	// server closed: true
}

// show prints the lines of a page that contain something.
func show(address, something string) {
	resp, err := http.Get(address)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		fmt.Println(err)
	}
	for line := range strings.Lines(string(body)) {
		if strings.Contains(line, something) {
			fmt.Print(line)
		}
	}
}
