package simetcd_test

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora/simtest/simetcd"
)

// Without a gate and a scheduler a Server behaves as etcd does in fair weather.
func ExampleNewServer() {
	server := simetcd.NewServer()
	defer server.Close()
	ctx := context.Background()

	a, b := server.Client("a", nil), server.Client("b", nil)
	changes := a.Watch(ctx, "/nodes/", clientv3.WithPrefix())
	lease, err := b.Grant(ctx, 10)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := b.Put(ctx, "/nodes/b", "up", clientv3.WithLease(lease.ID)); err != nil {
		fmt.Println(err)
		return
	}
	server.Expire(lease.ID) // now, rather than in ten seconds
	for range 2 {
		for _, e := range (<-changes).Events {
			fmt.Printf("%s %s at revision %d\n", e.Type, e.Kv.Key, e.Kv.ModRevision)
		}
	}
	// Output:
	// PUT /nodes/b at revision 2
	// DELETE /nodes/b at revision 3
}
