package main

import (
	"context"
	"errors"
	"flag"
	"io"

	"github.com/metafora-go/metafora"
)

// parseAction understands what follows the flags. Its first word names an
// action; any other word begins a command to submit.
func parseAction(args []string, sub submission) (action, error) {
	name, rest := args[0], args[1:]
	parse, ok := actions[name]
	switch {
	case name == "submit":
		return sub.parseSubmit(rest)
	case !ok:
		return sub.submit(args)
	case sub != submission{}:
		return nil, usagef("%s: -id, -at and -every are for a command to submit", name)
	}
	return parse(rest)
}

// actions are those that do not submit, by name. Each understands what follows.
var actions = map[string]func(args []string) (action, error){
	"tasks":   parseTasks,
	"state":   parseState,
	"delete":  forEachTask("delete", deleteTask),
	"pause":   forEachTask("pause", pauseTask),
	"resume":  forEachTask("resume", resumeTask),
	"kill":    forEachTask("kill", killTask),
	"nodes":   parseNodes,
	"command": parseCommand,
}

func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}

// forEachTask understands the IDs of tasks, and does the same to each, also after
// one for which that failed.
func forEachTask(name string, do func(ctx context.Context, cl client, id string) error) func([]string) (action, error) {
	return func(ids []string) (action, error) {
		if len(ids) == 0 {
			return nil, usagef("%s: which task?", name)
		}
		return func(ctx context.Context, cl client, _, _ io.Writer) error {
			var errs []error
			for _, id := range ids {
				errs = append(errs, do(ctx, cl, id))
			}
			return errors.Join(errs...)
		}, nil
	}
}

func deleteTask(ctx context.Context, cl client, id string) error { return cl.DeleteTask(ctx, id) }

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
	return func(ctx context.Context, cl client, _, _ io.Writer) error {
		return cl.SubmitCommand(ctx, node, command)
	}, nil
}
