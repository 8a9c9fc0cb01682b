package etcd_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/statemachine"
)

// countingConn counts requests, but those about leases.
type countingConn struct {
	etcd.Conn
	gets, txns, watches atomic.Int64
}

func (c *countingConn) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	c.gets.Add(1)
	return c.Conn.Get(ctx, key, opts...)
}

func (c *countingConn) Txn(ctx context.Context) clientv3.Txn {
	c.txns.Add(1)
	return c.Conn.Txn(ctx)
}

func (c *countingConn) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	c.watches.Add(1)
	return c.Conn.Watch(ctx, key, opts...)
}

// A stateful task costs etcd its claim, and then nothing until something happens
// to it: no watch, no request to load its state or to listen.
func TestStatefulTaskCostsEtcdNothingButItsClaim(t *testing.T) {
	cli := startEtcd(t)
	for _, tasks := range []int{1, 600} {
		namespace := fmt.Sprint("/cost/", tasks)
		client := newClient(t, cli, namespace)
		all := make([]metafora.Task, tasks)
		for i := range all {
			all[i] = metafora.NewTask(fmt.Sprint("task-", i))
		}
		if err := client.SubmitTasks(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		conn := &countingConn{Conn: cli}
		entered := make(chan string)
		node, err := etcd.NewService(conn, "node-1", statemachine.Config{
			Handler: func(_ context.Context, task metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
				entered <- task.ID()
				return <-commands
			},
			Balancer: func(metafora.ClusterState) metafora.Balancer { return balance.All() },
		}, etcd.Options{Namespace: namespace})
		if err != nil {
			t.Fatal(err)
		}
		ctx, shutdown := context.WithCancel(t.Context())
		stopped := make(chan error)
		go func() { stopped <- node.Run(ctx) }()
		for range tasks {
			<-entered
		}
		// A task can run before all watches have begun.
		for deadline := time.Now().Add(10 * time.Second); conn.watches.Load() < 3 && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		if gets, watches := conn.gets.Load(), conn.watches.Load(); gets != 3 || watches != 3 {
			t.Errorf("%d tasks cost %d reads and %d watches, want one of each for nodes, tasks and commands", tasks, gets, watches)
		}
		if n := node.Coordinator.Stats().Operations; n != int64(tasks)+1 {
			t.Errorf("%d tasks cost %d writes, want that of joining and a claim of each", tasks, n)
		}
		claimed := conn.txns.Load()
		time.Sleep(200 * time.Millisecond)
		if err := client.Send(t.Context(), "task-0", statemachine.Run()); err != nil {
			t.Fatal(err)
		}
		if id := <-entered; id != "task-0" {
			t.Errorf("%s got the command", id)
		}
		if n := conn.txns.Load() - claimed; n != 1 || conn.gets.Load() != 3 || conn.watches.Load() != 3 {
			t.Errorf("a command cost %d transactions, %d reads and %d watches, want a transaction", n, conn.gets.Load()-3, conn.watches.Load()-3)
		}
		shutdown()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}
}

// The command is there: to say that it is not, or to send it again, would both
// be wrong.
func TestSendWhoseReplyWasLostIsSettled(t *testing.T) {
	cli := startEtcd(t)
	c := &conn{Conn: cli}
	client, err := etcd.NewClient(c, etcd.Options{Namespace: "/send"})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.SubmitTask(t.Context(), metafora.NewTask("task")); err != nil {
		t.Fatal(err)
	}
	c.loseReply()
	if err := client.Send(t.Context(), "task", statemachine.Pause()); err != nil {
		t.Errorf("a command that is pending: %v", err)
	}
	resp, err := cli.Get(t.Context(), "/send/commands/task")
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Kvs) != 1 || resp.Kvs[0].Version != 1 {
		t.Errorf("etcd has %v, want the command, written once", resp.Kvs)
	}
}
