package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/examples/internal/koalemos"
	"github.com/metafora-go/metafora/statemachine"
)

// table is what a list action shows: rows for a person, or items for a program.
type table struct {
	header []string
	rows   [][]string
	items  any
}

// parseList understands the flags of a list action.
func parseList(name string, args []string, list func(context.Context, client) (table, error)) (action, error) {
	flags := newFlags(name)
	asJSON := flags.Bool("json", false, "")
	if err := parse(flags, args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, usagef("%s: unexpected argument %q", name, flags.Arg(0))
	}
	return func(ctx context.Context, cl client, stdout, _ io.Writer) error {
		t, err := list(ctx, cl)
		if err != nil {
			return err
		}
		if *asJSON {
			return writeJSON(stdout, t.items)
		}
		return t.write(stdout)
	}, nil
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (t table) write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.header}, t.rows...) {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	return tw.Flush()
}

// task is all that is known of one.
type task struct {
	metafora.TaskInfo
	State statemachine.State `json:"state"`
	// Deleted tasks did not come to the end that their state tells of.
	Deleted bool `json:"deleted,omitempty"`
}

func parseTasks(args []string) (action, error) { return parseList("tasks", args, listTasks) }

func listTasks(ctx context.Context, cl client) (table, error) {
	infos, err := cl.Tasks(ctx)
	if err != nil {
		return table{}, err
	}
	ids := make([]string, len(infos))
	for i, info := range infos {
		ids[i] = info.ID
	}
	states, err := cl.States(ctx, ids)
	if err != nil {
		return table{}, err
	}
	t := table{header: []string{"TASK", "OWNER", "FENCE", "STATE", "COMMAND"}}
	items := make([]task, 0, len(infos)) // a list that is empty is [] in JSON, not null
	for _, info := range infos {
		command, state := describe(info)
		if stored, ok := states[info.ID]; ok {
			state = stored
		}
		owner, fence := "-", "-"
		if info.Owner != "" {
			owner, fence = info.Owner, fmt.Sprint(info.Fence)
		}
		items = append(items, task{TaskInfo: info, State: state})
		t.rows = append(t.rows, []string{info.ID, owner, fence, stateText(state), command})
	}
	t.items = items
	return t, nil
}

// describe returns the command of a task, and the state that it has first.
func describe(info metafora.TaskInfo) (string, statemachine.State) {
	t, err := metafora.DecodeTask(koalemos.DecodeTask, info.ID, info.Props)
	if err != nil {
		return "not a command", statemachine.State{Code: statemachine.Runnable}
	}
	command := t.(*koalemos.Task)
	state := command.FirstState(time.Now())
	state.Since = time.Time{} // nobody has stored it
	return command.String(), state
}

// stateText returns a state in a few words, with times of this time zone.
func stateText(s statemachine.State) string {
	text := string(s.Code)
	if !s.Until.IsZero() {
		text += " until " + timeText(s.Until)
	}
	switch n := len(s.Errors); n {
	case 0:
		return text
	case 1:
		return text + " (1 error)"
	default:
		return fmt.Sprintf("%s (%d errors)", text, n)
	}
}

func timeText(t time.Time) string { return t.Local().Format(time.DateTime) }

func parseNodes(args []string) (action, error) { return parseList("nodes", args, listNodes) }

func listNodes(ctx context.Context, cl client) (table, error) {
	nodes, err := cl.Nodes(ctx)
	if err != nil {
		return table{}, err
	}
	t := table{header: []string{"NODE", "ACCEPTING", "WEIGHT", "STATEFUL"}, items: append([]metafora.Node{}, nodes...)}
	for _, n := range nodes {
		t.rows = append(t.rows, []string{n.Name, fmt.Sprint(n.Accepting), fmt.Sprint(n.Weight), fmt.Sprint(keepsStates(n))})
	}
	return t, nil
}
