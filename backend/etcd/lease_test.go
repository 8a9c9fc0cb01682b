package etcd_test

import (
	"context"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
)

// losses is a CoordinatorContext that passes on what was lost.
type losses chan metafora.Claim

func (l losses) Lost(c metafora.Claim, _ error) { l <- c }
func (losses) ClusterChanged()                  {}

// The next renewal is minutes away: the node must learn of it otherwise.
func TestLeaseRevokedFromOutsideIsReplacedAtOnce(t *testing.T) {
	cli := startEtcd(t)
	coord, err := etcd.NewCoordinator(cli, "a", etcd.Options{TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = coord.Close() })
	lost := make(losses, 1)
	if err := coord.Init(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	tasks := make(chan metafora.Task)
	watched := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	go func() { watched <- coord.Watch(ctx, tasks) }()
	if err := newClient(t, cli, "").SubmitTask(ctx, metafora.NewTask("t")); err != nil {
		t.Fatal(err)
	}
	claim, err := coord.Claim(ctx, <-tasks)
	if err != nil {
		t.Fatal(err)
	}
	revokeLease(t, cli, "/metafora/nodes/a")
	if got := <-lost; got != claim {
		t.Errorf("lost %v, want %v", got, claim)
	}
	task := <-tasks // announced again: nobody owns it
	for {
		if _, err = coord.Claim(ctx, task); err == nil || ctx.Err() != nil {
			break
		}
		time.Sleep(10 * time.Millisecond) // until the node has rejoined
	}
	if err != nil {
		t.Errorf("claim under the new lease: %v", err)
	}
	cancel()
	if err := <-watched; err != nil {
		t.Error(err)
	}
}
