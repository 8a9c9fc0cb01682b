package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/metafora-go/metafora/examples/internal/koalemos"
)

// submission is what the flags say of a command to submit.
type submission struct {
	id   string
	when koalemos.Schedule
}

// addFlags makes s what the flags of fs say once they are parsed.
func (s *submission) addFlags(fs *flag.FlagSet) {
	fs.StringVar(&s.id, "id", s.id, "`ID` of the task (default the program's name and something random)")
	fs.Func("at", "`time` at which the command runs: 15:04, 2006-01-02T15:04 or +1h30m (default now)", func(text string) (err error) {
		s.when.At, err = koalemos.ParseTime(text, time.Now())
		return err
	})
	fs.Func("every", "`duration` after which the command runs again, and so on", func(text string) error {
		every, err := time.ParseDuration(text)
		if err == nil && every <= 0 {
			err = fmt.Errorf("%v is not positive", every)
		}
		s.when.Every = koalemos.Duration(every)
		return err
	})
}

// parseSubmit understands the flags of the action of this name, which add to
// those before it.
func (s submission) parseSubmit(args []string) (action, error) {
	flags := newFlags("submit")
	s.addFlags(flags)
	if err := parse(flags, args); err != nil {
		return nil, err
	}
	return s.submit(flags.Args())
}

func (s submission) submit(command []string) (action, error) {
	if s.when.Every > 0 && s.when.At.IsZero() {
		s.when.At = time.Now()
	}
	task, err := koalemos.NewScheduledTask(s.id, s.when, command...)
	if err != nil {
		return nil, usagef("submit: %v", err)
	}
	return func(ctx context.Context, cl client, stdout, stderr io.Writer) error {
		if err := cl.SubmitTask(ctx, task); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(stdout, task.ID()); err != nil {
			return err
		}
		return warn(ctx, cl, task, stderr)
	}, nil
}

// warn says so where no node would run a task.
func warn(ctx context.Context, cl client, task *koalemos.Task, stderr io.Writer) error {
	if len(task.Labels()) == 0 {
		return nil
	}
	nodes, err := cl.Nodes(ctx)
	if err != nil || slices.ContainsFunc(nodes, keepsStates) {
		return nil // the task is there; that nobody can tell more is no failure
	}
	_, err = fmt.Fprintln(stderr, "koalemosctl: the task waits for a node with -stateful, there is none")
	return err
}
