package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/examples/internal/koalemos"
	"github.com/metafora-go/metafora/statemachine"
)

// parseState understands the IDs of the tasks whose states are to be shown.
func parseState(args []string) (action, error) {
	flags := newFlags("state")
	asJSON := flags.Bool("json", false, "")
	if err := parse(flags, args); err != nil {
		return nil, err
	}
	if flags.NArg() == 0 {
		return nil, usagef("state: which task?")
	}
	return func(ctx context.Context, cl client, stdout, _ io.Writer) error {
		tasks := []task{}
		var errs []error
		for _, id := range flags.Args() {
			t, err := lookUp(ctx, cl, id)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			tasks = append(tasks, t)
		}
		if *asJSON {
			errs = append(errs, writeJSON(stdout, tasks))
			return errors.Join(errs...)
		}
		for _, t := range tasks {
			errs = append(errs, t.write(stdout))
		}
		return errors.Join(errs...)
	}, nil
}

// lookUp returns what is known of a task. Of one that is over it is the last state,
// if nodes that keep states ran it.
func lookUp(ctx context.Context, cl client, id string) (task, error) {
	info, missing := cl.Task(ctx, id)
	if missing != nil && !errors.Is(missing, metafora.ErrNoTask) {
		return task{}, missing
	}
	states, err := cl.States(ctx, []string{id})
	if err != nil {
		return task{}, err
	}
	state, stored := states[id]
	switch {
	case missing == nil && !stored:
		_, state = describe(info)
	case missing != nil && !stored:
		return task{}, missing
	case missing != nil:
		info = metafora.TaskInfo{ID: id}
	}
	return task{TaskInfo: info, State: state, Deleted: missing != nil && !state.Code.Terminal()}, nil
}

// write shows a task to a person.
func (t task) write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(tw, "%s\t%s\n", name, value)
		}
	}
	line("task", t.ID)
	line("state", stateText(t.State))
	if t.Deleted {
		line("deleted", "yes, in this state")
	}
	if !t.State.Since.IsZero() {
		line("since", timeText(t.State.Since))
	}
	line("owner", t.Owner)
	if t.Props != nil {
		command, _ := describe(t.TaskInfo)
		line("command", command)
		if decoded, err := koalemos.DecodeTask(t.ID, t.Props); err == nil {
			line("schedule", decoded.(*koalemos.Task).Schedule.String())
		}
	}
	for _, e := range t.State.Errors {
		line("error", errorText(e))
	}
	return tw.Flush()
}

func errorText(e statemachine.TaskError) string {
	if e.Time.IsZero() {
		return e.Error
	}
	return timeText(e.Time) + " " + e.Error
}
