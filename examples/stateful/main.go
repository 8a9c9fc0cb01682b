// Stateful is a whole service whose tasks can be paused, resumed and killed, and
// are tried again when they fail. Each task says hello every second, and takes a
// rest after ten times.
//
// It needs an etcd, such as that of "go run ./examples/koalemosd -dev". Start it as
// often as you like, with different names:
//
//	go run ./examples/stateful -name one greet-earth greet-mars
//	go run ./examples/stateful -name two
//
// The first one also submits the tasks named.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/statemachine"
)

// newService is all that there is to it.
func newService(conn etcd.Conn, name string, pause time.Duration, out io.Writer) (*etcd.Service, error) {
	greet := func(_ context.Context, t metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
		for range 10 {
			select {
			case m := <-commands: // pause, kill, or release when this node ends
				return m
			case <-time.After(pause): // the work
				if _, err := fmt.Fprintln(out, "hello from", t.ID(), "on", name); err != nil {
					return statemachine.Error(err) // tried again later
				}
			}
		}
		return statemachine.Sleep(time.Now().Add(30 * pause))
	}
	return etcd.NewService(conn, name, statemachine.Config{
		Handler:  greet,
		Balancer: func(cs metafora.ClusterState) metafora.Balancer { return balance.NewRendezvous(cs) },
	}, etcd.Options{Namespace: "/greetings"})
}

func main() {
	endpoint := flag.String("etcd", "http://127.0.0.1:2379", "`URL` of etcd")
	name := flag.String("name", "one", "`name` of this node, unlike that of any other")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *endpoint, *name, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

// run runs the service until ctx ends.
func run(ctx context.Context, endpoint, name string, tasks []string) error {
	cli, err := etcd.Dial(ctx, clientv3.Config{Endpoints: []string{endpoint}})
	if err != nil {
		return err
	}
	defer cli.Close()
	service, err := newService(cli, name, time.Second, os.Stdout)
	if err != nil {
		return err
	}
	for _, id := range tasks {
		err := service.Client.SubmitTask(ctx, metafora.NewTask(id))
		if err != nil && !errors.Is(err, metafora.ErrTaskExists) {
			return err
		}
	}
	return service.Run(ctx)
}
