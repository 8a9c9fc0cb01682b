package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/examples/internal/koalemos"
)

// table is what a list action shows: rows for a person, or items for a program.
type table struct {
	header []string
	rows   [][]string
	items  any
}

// parseList understands the flags of a list action.
func parseList(name string, args []string, list func(context.Context, metafora.Client) (table, error)) (action, error) {
	flags := newFlags(name)
	asJSON := flags.Bool("json", false, "")
	if err := parse(flags, args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, usagef("%s: unexpected argument %q", name, flags.Arg(0))
	}
	return func(ctx context.Context, client metafora.Client, stdout io.Writer) error {
		t, err := list(ctx, client)
		if err != nil {
			return err
		}
		if *asJSON {
			enc := json.NewEncoder(stdout)
			enc.SetIndent("", "  ")
			return enc.Encode(t.items)
		}
		return t.write(stdout)
	}, nil
}

func (t table) write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{t.header}, t.rows...) {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	return tw.Flush()
}

func listTasks(ctx context.Context, client metafora.Client) (table, error) {
	infos, err := client.Tasks(ctx)
	if err != nil {
		return table{}, err
	}
	// A list that is empty is [] in JSON, not null.
	t := table{header: []string{"TASK", "OWNER", "FENCE", "COMMAND"}, items: append([]metafora.TaskInfo{}, infos...)}
	for _, info := range infos {
		owner, fence := "-", "-"
		if info.Owner != "" {
			owner, fence = info.Owner, fmt.Sprint(info.Fence)
		}
		t.rows = append(t.rows, []string{info.ID, owner, fence, commandOf(info)})
	}
	return t, nil
}

func commandOf(info metafora.TaskInfo) string {
	task, err := metafora.DecodeTask(koalemos.DecodeTask, info.ID, info.Props)
	if err != nil {
		return "not a command"
	}
	return fmt.Sprint(task)
}

func listNodes(ctx context.Context, client metafora.Client) (table, error) {
	nodes, err := client.Nodes(ctx)
	if err != nil {
		return table{}, err
	}
	t := table{header: []string{"NODE", "ACCEPTING", "WEIGHT"}, items: append([]metafora.Node{}, nodes...)}
	for _, n := range nodes {
		t.rows = append(t.rows, []string{n.Name, fmt.Sprint(n.Accepting), fmt.Sprint(n.Weight)})
	}
	return t, nil
}
