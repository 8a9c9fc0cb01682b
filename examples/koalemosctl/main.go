// Koalemosctl submits commands to a cluster of koalemosd, and shows and manages
// what runs there. Run it without arguments for help.
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

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/examples/internal/koalemos"
	"github.com/metafora-go/metafora/statemachine"
)

const usage = `koalemosctl submits commands to koalemosd, and shows what runs there.

	koalemosctl [flags] sleep 60               run a command
	koalemosctl -at 15:04 -every 1h backup.sh  run one on a schedule
	koalemosctl submit [-id ID] [-at TIME] [-every DURATION] -- sleep 60
	                                           likewise, whatever its name

	koalemosctl [flags] tasks [-json]          list tasks, who runs them, and their states
	koalemosctl [flags] state [-json] ID...    show all about tasks, those that are over too
	koalemosctl [flags] delete ID...           delete tasks, running ones too
	koalemosctl [flags] pause ID...            have tasks stop until resumed
	koalemosctl [flags] resume ID...           have them go on; tasks that sleep, until a
	                                           time or after a failure, run at once
	koalemosctl [flags] kill ID...             end tasks for good

	koalemosctl [flags] nodes [-json]          list nodes
	koalemosctl [flags] command NODE NAME [ID] have a node freeze, unfreeze, balance,
	                                           drain, or stop_task ID

Schedules, pause, resume and kill need nodes that run with -stateful.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program but for the exit status that it returns: 0, 1 for an error,
// 2 for one in the command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := dispatch(ctx, args, stdout, stderr)
	var wrong usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintf(stderr, "koalemosctl: %v\nRun koalemosctl -help for help.\n", err)
		return 2
	}
	fmt.Fprintln(stderr, "koalemosctl:", err)
	return 1
}

// usageError is a mistake in the command line.
type usageError struct{ msg string }

func (e usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// client is what actions need of a cluster.
type client interface {
	metafora.Client
	statemachine.Commander

	// State and States are those of [etcd.Client].
	State(ctx context.Context, id string) (statemachine.State, error)
	States(ctx context.Context, ids []string) (map[string]statemachine.State, error)
}

// action is what a command line asks for, once it has been understood.
type action func(ctx context.Context, cl client, stdout, stderr io.Writer) error

func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var conn koalemos.Connection
	flags := flag.NewFlagSet("koalemosctl", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error says all
	conn.AddFlags(flags)
	var sub submission
	sub.addFlags(flags)
	timeout := flags.Duration("timeout", 5*time.Second, "how long to wait for etcd")
	help := func() error {
		fmt.Fprint(stderr, usage)
		flags.SetOutput(stderr)
		flags.PrintDefaults()
		return flag.ErrHelp
	}
	err := parse(flags, args)
	if errors.Is(err, flag.ErrHelp) || err == nil && flags.NArg() == 0 {
		return help()
	}
	if err != nil {
		return err
	}
	if *timeout <= 0 {
		return usagef("-timeout %v is not positive", *timeout)
	}
	act, err := parseAction(flags.Args(), sub)
	if errors.Is(err, flag.ErrHelp) {
		return help()
	}
	if err != nil {
		return err
	}

	cc, err := conn.Config()
	if err != nil {
		return err
	}
	cc.DialTimeout = *timeout
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	cli, err := etcd.Dial(ctx, cc)
	if err != nil {
		return err
	}
	defer cli.Close()
	cl, err := etcd.NewClient(cli, etcd.Options{Namespace: conn.Namespace})
	if err != nil {
		return err
	}
	return act(ctx, cl, stdout, stderr)
}

// parse makes mistakes in flags usage errors.
func parse(flags *flag.FlagSet, args []string) error {
	err := flags.Parse(args)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err
	}
	return usageError{err.Error()}
}
