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
)

const usage = `koalemosctl submits commands to koalemosd, and shows what runs there.

	koalemosctl [flags] sleep 60               run a command
	koalemosctl [flags] submit [-id ID] -- sleep 60
	                                           likewise, under an ID of one's own
	koalemosctl [flags] tasks [-json]          list tasks and who runs them
	koalemosctl [flags] nodes [-json]          list nodes
	koalemosctl [flags] delete ID...           delete tasks, running ones too
	koalemosctl [flags] command NODE NAME [ID] have a node freeze, unfreeze, balance,
	                                           drain, or stop_task ID

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

// action is what a command line asks for, once it has been understood.
type action func(ctx context.Context, client metafora.Client, stdout io.Writer) error

func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var conn koalemos.Connection
	flags := flag.NewFlagSet("koalemosctl", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error says all
	conn.AddFlags(flags)
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
	act, err := parseAction(flags.Args())
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
	client, err := etcd.NewClient(cli, etcd.Options{Namespace: conn.Namespace})
	if err != nil {
		return err
	}
	return act(ctx, client, stdout)
}

// parse makes mistakes in flags usage errors.
func parse(flags *flag.FlagSet, args []string) error {
	err := flags.Parse(args)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err
	}
	return usageError{err.Error()}
}
