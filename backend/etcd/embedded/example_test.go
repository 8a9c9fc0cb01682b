package embedded_test

import (
	"context"
	"fmt"
	"log"

	"github.com/metafora-go/metafora/backend/etcd/embedded"
)

func ExampleStart() {
	ctx := context.Background()
	srv, err := embedded.Start(ctx, embedded.Config{NoFsync: true})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()

	cli, err := srv.Client()
	if err != nil {
		log.Fatal(err)
	}
	if _, err := cli.Put(ctx, "greeting", "hello"); err != nil {
		log.Fatal(err)
	}
	resp, err := cli.Get(ctx, "greeting")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", resp.Kvs[0].Value)
	// Output: hello
}

func ExampleStartCluster() {
	ctx := context.Background()
	cluster, err := embedded.StartCluster(ctx, embedded.ClusterConfig{Members: 3})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()

	cluster.Members()[0].Stop() // two of three are a majority

	cli, err := cluster.Client()
	if err != nil {
		log.Fatal(err)
	}
	resp, err := cli.MemberList(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(resp.Members), "members")
	// Output: 3 members
}
