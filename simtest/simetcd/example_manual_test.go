package simetcd_test

import (
	"context"
	"fmt"

	"github.com/metafora-go/metafora/simtest/simetcd"
)

// A scheduler lets a watch fall behind until what it needs is compacted. In a
// synctest bubble it would call synctest.Wait before each decision.
func ExampleManual() {
	server := simetcd.NewServer(simetcd.Manual())
	defer server.Close()
	ctx := context.Background()

	node := server.Client("node-1", nil)
	changes := node.Watch(ctx, "t1")
	for _, value := range []string{"a", "b", "c"} {
		if _, err := node.Put(ctx, "t1", value); err != nil {
			fmt.Println(err)
			return
		}
	}

	watch := server.Watches()[0]
	fmt.Printf("%s of %s: %d to deliver, first %s\n", watch, watch.Node(), watch.Pending(), watch.Peek())
	watch.Break()
	if err := server.Compact(server.Revision()); err != nil {
		fmt.Println(err)
		return
	}
	watch.Deliver(1)
	resp := <-changes
	fmt.Println(resp.Err())
	// Output:
	// watch t1 of node-1: 3 to deliver, first put t1 @2
	// etcdserver: mvcc: required revision has been compacted
}
