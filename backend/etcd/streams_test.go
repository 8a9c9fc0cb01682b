package etcd_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
)

// The watches of an in-process client wait for each other for ever where many of one
// stream begin and end at once: etcd issue 20716.
func TestManyNodesComeAndGoWithOneClient(t *testing.T) {
	t.Parallel()
	cli := startEtcd(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		var nodes sync.WaitGroup
		for n := range 30 {
			nodes.Go(func() {
				for i := range 5 {
					if err := comeAndGo(ctx, cli, fmt.Sprintf("node-%d-%d", n, i)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		nodes.Wait()
	}()
	select {
	case <-gone:
	case <-ctx.Done():
		t.Fatal("the nodes neither come nor go")
	}
}

// comeAndGo has a node join, hear of a task, and leave.
func comeAndGo(ctx context.Context, cli *clientv3.Client, name string) error {
	coord, err := etcd.NewCoordinator(cli, name, etcd.Options{Namespace: "/" + name})
	if err != nil {
		return err
	}
	defer coord.Close()
	if err := coord.Init(ctx, make(losses)); err != nil {
		return err
	}
	client, err := etcd.NewClient(cli, etcd.Options{Namespace: "/" + name})
	if err != nil {
		return err
	}
	if err := client.SubmitTask(ctx, metafora.NewTask("t")); err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	tasks, watched := make(chan metafora.Task), make(chan error, 1)
	go func() { watched <- coord.Watch(watching, tasks) }()
	select {
	case <-tasks:
	case <-ctx.Done():
		return fmt.Errorf("%s hears of no task: %w", name, ctx.Err())
	}
	stop()
	return <-watched
}
