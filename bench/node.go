package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/balance"
)

const (
	namespace  = "/bench"
	leaseTTL   = 5 * time.Second
	taskPrefix = "task-"
)

// node is a Consumer whose handlers count themselves and wait to be stopped.
type node struct {
	consumer *metafora.Consumer
	coord    *etcd.Coordinator
	ended    chan error
	own      *clientv3.Client // closed with the node, nil if others use it
}

// running counts the tasks whose handlers were started, and tells when a number
// of them was reached. A task that moves meanwhile counts once.
type running struct {
	started []atomic.Bool // by the number in the task's ID
	tasks   atomic.Int64
	starts  atomic.Int64
	reached chan struct{}
}

func newRunning(want int) *running {
	return &running{started: make([]atomic.Bool, want), reached: make(chan struct{})}
}

func (r *running) enter(t metafora.Task) {
	r.starts.Add(1)
	i, err := strconv.Atoi(strings.TrimPrefix(t.ID(), taskPrefix))
	if err != nil {
		panic(err) // all tasks are made by tasks
	}
	if !r.started[i].Swap(true) && r.tasks.Add(1) == int64(len(r.started)) {
		close(r.reached)
	}
}

func (r *running) wait(ctx context.Context) error {
	select {
	case <-r.reached:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%d of %d handlers were started: %w", r.tasks.Load(), len(r.started), ctx.Err())
	}
}

// waiter is a handler that runs until it is stopped.
func waiter(r *running) metafora.HandlerFunc {
	return metafora.SimpleHandler(func(ctx context.Context, t metafora.Task, stop <-chan struct{}) bool {
		r.enter(t)
		select {
		case <-stop:
		case <-ctx.Done():
		}
		return false
	})
}

// startNode runs a node. One that is alone claims everything at once and never
// balances.
func startNode(ctx context.Context, cli *clientv3.Client, name string, alone bool, h func(*etcd.Coordinator) metafora.HandlerFunc) (*node, error) {
	coord, err := etcd.NewCoordinator(cli, name, etcd.Options{Namespace: namespace, TTL: leaseTTL})
	if err != nil {
		return nil, err
	}
	var b metafora.Balancer = balance.NewRendezvous(coord)
	if alone {
		b = balance.All()
	}
	c, err := metafora.NewConsumer(coord, h(coord), b)
	if err != nil {
		return nil, err
	}
	n := &node{consumer: c, coord: coord, ended: make(chan error, 1)}
	go func() { n.ended <- c.Run(ctx) }()
	return n, nil
}

func (n *node) stop() error {
	n.consumer.Shutdown()
	err := <-n.ended
	if n.own != nil {
		err = errors.Join(err, n.own.Close())
	}
	return err
}

func stopAll(nodes []*node) error {
	errs := make(chan error)
	for _, n := range nodes {
		go func() { errs <- n.stop() }()
	}
	var first error
	for range nodes {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// submit makes n tasks wait.
func submit(ctx context.Context, cli *clientv3.Client, n int) (*etcd.Client, error) {
	client, err := etcd.NewClient(cli, etcd.Options{Namespace: namespace})
	if err != nil {
		return nil, err
	}
	return client, client.SubmitTasks(ctx, tasks(n))
}

func tasks(n int) []metafora.Task {
	ts := make([]metafora.Task, n)
	for i := range ts {
		ts[i] = metafora.NewTask(fmt.Sprintf("%s%06d", taskPrefix, i))
	}
	return ts
}

// playNode is a node in a process of its own, which says when all tasks of the
// number in its environment run.
func playNode(ctx context.Context) error {
	cli, err := dial(ctx, os.Getenv("METAFORA_BENCH_ETCD"))
	if err != nil {
		return err
	}
	defer cli.Close()
	var want int
	if _, err := fmt.Sscan(os.Getenv("METAFORA_BENCH_TASKS"), &want); err != nil {
		return err
	}
	r := newRunning(want)
	n, err := startNode(ctx, cli, fmt.Sprint("node-", os.Getpid()), true, func(*etcd.Coordinator) metafora.HandlerFunc { return waiter(r) })
	if err != nil {
		return err
	}
	if err := r.wait(ctx); err != nil {
		return err
	}
	fmt.Println("running")
	waitForParent(ctx)
	return n.stop()
}
