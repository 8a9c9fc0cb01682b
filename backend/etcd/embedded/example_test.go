package embedded_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

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

// Data outlives a server that was given its directory and port.
func ExampleServer_Dir() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "etcd")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for range 2 {
		srv, err := embedded.Start(ctx, embedded.Config{Dir: dir, NoFsync: true})
		if err != nil {
			log.Fatal(err)
		}
		cli, err := srv.Client()
		if err != nil {
			log.Fatal(err)
		}
		resp, err := cli.Get(ctx, "greeting")
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(len(resp.Kvs), "keys in a directory of mine:", srv.Dir() == dir)
		if _, err := cli.Put(ctx, "greeting", "hello"); err != nil {
			log.Fatal(err)
		}
		if err := srv.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// 0 keys in a directory of mine: true
	// 1 keys in a directory of mine: true
}

// Another process connects to what Endpoints returns.
func ExampleServer_Endpoints() {
	srv, err := embedded.Start(context.Background(), embedded.Config{NoFsync: true})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	fmt.Println(len(srv.Endpoints()), strings.HasPrefix(srv.Endpoints()[0], "http://127.0.0.1:"))
	_, err = embedded.Start(context.Background(), embedded.Config{Port: 70000})
	fmt.Println(err)
	// Output:
	// 1 true
	// embedded etcd: port 70000 is not between 0 and 65535
}

// The leader crashes, another member takes over, and the first comes back.
func ExampleCluster_Leader() {
	ctx := context.Background()
	cluster, err := embedded.StartCluster(ctx, embedded.ClusterConfig{Member: embedded.Config{NoFsync: true}})
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.Close()
	cli, err := cluster.Client()
	if err != nil {
		log.Fatal(err)
	}
	leader := func() *embedded.Member {
		for {
			if m := cluster.Leader(); m != nil {
				return m
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	first := leader()
	first.Stop()
	for {
		if _, err := cli.Put(ctx, "greeting", "hello"); err == nil {
			break
		}
	}
	fmt.Println("another leads:", leader().Name() != first.Name())
	fmt.Println("back:", first.Start(ctx))
	// Output:
	// another leads: true
	// back: <nil>
}
