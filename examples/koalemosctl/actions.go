package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/examples/internal/koalemos"
)

// parseAction understands what follows the flags. Its first word names an
// action; any other word begins a command to submit.
func parseAction(args []string) (action, error) {
	switch args[0] {
	case "submit":
		return parseSubmit(args[1:])
	case "tasks":
		return parseList("tasks", args[1:], listTasks)
	case "nodes":
		return parseList("nodes", args[1:], listNodes)
	case "delete":
		return parseDelete(args[1:])
	case "command":
		return parseCommand(args[1:])
	}
	return submit("", args)
}

func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}

func parseSubmit(args []string) (action, error) {
	flags := newFlags("submit")
	id := flags.String("id", "", "")
	if err := parse(flags, args); err != nil {
		return nil, err
	}
	return submit(*id, flags.Args())
}

func submit(id string, command []string) (action, error) {
	task, err := koalemos.NewTask(id, command...)
	if err != nil {
		return nil, usagef("submit: %v", err)
	}
	return func(ctx context.Context, client metafora.Client, stdout io.Writer) error {
		if err := client.SubmitTask(ctx, task); err != nil {
			return err
		}
		_, err := fmt.Fprintln(stdout, task.ID())
		return err
	}, nil
}

func parseDelete(ids []string) (action, error) {
	if len(ids) == 0 {
		return nil, usagef("delete: which task?")
	}
	return func(ctx context.Context, client metafora.Client, _ io.Writer) error {
		var errs []error
		for _, id := range ids {
			errs = append(errs, client.DeleteTask(ctx, id))
		}
		return errors.Join(errs...)
	}, nil
}

func parseCommand(args []string) (action, error) {
	if len(args) < 2 {
		return nil, usagef("command: which node, and what should it do?")
	}
	node, command, rest := args[0], metafora.Command{Name: args[1]}, args[2:]
	if command.Name == metafora.CommandStopTask && len(rest) > 0 {
		command, rest = metafora.StopTask(rest[0]), rest[1:]
	}
	if err := command.Validate(); err != nil {
		return nil, usagef("command: %v", err)
	}
	if len(rest) > 0 {
		return nil, usagef("command: unexpected argument %q", rest[0])
	}
	return func(ctx context.Context, client metafora.Client, _ io.Writer) error {
		return client.SubmitCommand(ctx, node, command)
	}, nil
}
