//go:build unix

// Koalemosd runs operating-system commands as tasks, on a cluster of nodes that
// share them. It is named after Koalemos, the god of stupidity, as it does what
// it is told. See koalemosctl for how to tell it.
//
// A command that ends by itself is done, whatever its exit status. One that is
// asked to end, because its node shuts down or makes room, runs again on another
// node, from its beginning: exactly one node runs it at a time, but not every
// command runs only once. It finds its task, its node and its fencing token in
// the variables METAFORA_TASK, METAFORA_NODE and METAFORA_FENCE.
//
// With -stateful a command whose exit status is not 0 is tried again, after longer
// and longer waits, until it is given up. Commands can be paused (SIGSTOP), resumed
// (SIGCONT) and killed, and have schedules. One that is handed over begins anew,
// if it was paused when it is resumed. All nodes of a namespace should have the
// flag or none; tasks with a schedule wait for a node that has it.
//
// Commands do not outlive their claim: a second process, the guard, kills them
// when koalemosd was killed, or is stopped while its lease runs out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/examples/internal/koalemos"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == guardArg {
		os.Exit(guardMain(os.Stdin, os.Stderr))
	}
	// After the first signal the next one has its usual effect, for those who
	// do not want to wait. The guard then kills what still runs.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program but for signals and the exit status that it returns: 0, 1
// for an error, 2 for one in the command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parseSettings(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	log := hclog.New(&hclog.LoggerOptions{Name: "koalemosd", Level: s.level, Output: stderr})
	if err := serve(ctx, s, log, stdout); err != nil {
		log.Error("koalemosd ends", "error", err)
		return 1
	}
	return 0
}

// serve connects to etcd, its own or another, and runs the node until ctx ends.
func serve(ctx context.Context, s *settings, log hclog.Logger, stdout io.Writer) (err error) {
	if s.dev || s.demo {
		srv, err := startDev(ctx, s, log)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, srv.Close()) }()
		s.conn.Endpoints = srv.Endpoints()
	}
	cc, err := s.conn.Config()
	if err != nil {
		return err
	}
	cli, err := etcd.Dial(ctx, cc)
	if err != nil {
		return err
	}
	defer cli.Close()
	if s.demo {
		return runDemo(ctx, s, cli, stdout)
	}
	if s.dev {
		fmt.Fprintf(stdout, "etcd listens on %s\n%s", s.conn.Endpoints[0], s.hints())
	}
	return runNode(ctx, s, log, cli)
}

// runDemo shows what several nodes do.
func runDemo(ctx context.Context, s *settings, cli *clientv3.Client, stdout io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	client, err := etcd.NewClient(cli, etcd.Options{Namespace: s.conn.Namespace})
	if err != nil {
		return err
	}
	d := &demo{
		client: client, endpoint: s.conn.Endpoints[0], namespace: s.conn.Namespace, output: s.output,
		out: stdout, program: self, beat: 2 * time.Second, command: []string{"sleep", "8"},
	}
	if err := d.run(ctx); ctx.Err() == nil {
		return err
	}
	return nil // somebody has seen enough
}

// runNode runs the node on a connection to etcd until ctx ends.
func runNode(ctx context.Context, s *settings, log hclog.Logger, cli *clientv3.Client) error {
	g, err := startGuard()
	if err != nil {
		return err
	}
	defer g.close()
	coord, err := etcd.NewCoordinator(cli, s.name, etcd.Options{
		Namespace: s.conn.Namespace,
		TaskFunc:  koalemos.DecodeTask,
		TTL:       s.ttl,
		Margin:    s.margin,
		NameWait:  s.nameWait,
		Labels:    s.labels(),
		Logger:    log.Named("etcd"),
	})
	if err != nil {
		return err
	}
	r := &runner{log: log, lease: coord, guard: g, output: s.output, kill: s.kill, retry: s.retry}
	handler := metafora.SimpleHandler(r.run)
	if s.stateful {
		handler = newStatefulRunner(r, coord, s.backoff).handler
	}
	match := balance.NewMatch(coord, balance.TaskLabels)
	balancer := balance.NewRendezvous(coord, balance.WithEligible(match.Eligible))
	consumer, err := metafora.NewConsumer(coord, handler, balancer, metafora.WithLogger(log), metafora.WithDrainTimeout(s.drain))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	guarded := make(chan error, 1)
	go func() {
		guarded <- r.extendGuard(ctx, (s.ttl-s.margin)/16)
		cancel() // without the guard the node must not go on
	}()
	err = consumer.Run(ctx)
	cancel()
	return errors.Join(err, <-guarded)
}
