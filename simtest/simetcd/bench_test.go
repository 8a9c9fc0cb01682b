package simetcd_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora/simtest/simetcd"
)

// A schedule of the simulator makes a server and a few clients, and ends them.
func BenchmarkServerAndThreeClients(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		server := simetcd.NewServer(simetcd.Manual())
		for _, name := range []string{"a", "b", "c"} {
			server.Client(name, nil)
		}
		server.Close()
	}
}

func BenchmarkClaim(b *testing.B) {
	server := simetcd.NewServer(simetcd.Manual())
	defer server.Close()
	node := server.Client("a", nil)
	ctx := context.Background()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		owner := fmt.Sprintf("/tasks/%d/owner", i%1000)
		_, err := node.Txn(ctx).
			If(clientv3.Compare(clientv3.Version(owner), "=", 0)).
			Then(clientv3.OpPut(owner, "a")).
			Else(clientv3.OpDelete(owner)).
			Commit()
		if err != nil {
			b.Fatal(err)
		}
	}
}

// Many watches of the same keys, as a cluster of 200 nodes has.
func BenchmarkChangeSeenBy200Watches(b *testing.B) {
	server := simetcd.NewServer(simetcd.Manual())
	defer server.Close()
	node := server.Client("a", nil)
	ctx := context.Background()
	var channels []clientv3.WatchChan
	for range 200 {
		channels = append(channels, node.Watch(ctx, "/tasks/", clientv3.WithPrefix()))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := node.Put(ctx, "/tasks/1", "x"); err != nil {
			b.Fatal(err)
		}
		for _, w := range server.Watches() {
			for !w.Deliver(1) {
				runtime.Gosched() // to the goroutine that has just passed on the last one
			}
		}
		for _, ch := range channels {
			<-ch
		}
	}
}
