package simetcd_test

import (
	"context"
	"fmt"

	"github.com/metafora-go/metafora/simtest/simetcd"
)

// A reply that gets lost: the write took effect, and its writer cannot know.
func ExampleGate() {
	server := simetcd.NewServer()
	defer server.Close()

	node := server.Client("node-1", func(_ context.Context, c *simetcd.Call) error {
		if c.Kind() != simetcd.KindPut {
			return nil
		}
		c.Apply()
		fmt.Printf("%s: %s: %s, reply lost\n", c.Node(), c, c.Outcome())
		return simetcd.ErrUnavailable
	})

	_, err := node.Put(context.Background(), "/tasks/t1/owner", "node-1")
	fmt.Println("node-1 sees:", err)
	fmt.Printf("etcd has: %s\n", server.Get("/tasks/t1/owner").Value)
	// Output:
	// node-1: put /tasks/t1/owner: @2, reply lost
	// node-1 sees: rpc error: code = Unavailable desc = error reading from server: EOF
	// etcd has: node-1
}
