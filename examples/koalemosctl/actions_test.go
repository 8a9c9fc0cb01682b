package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// fakeClient notes what it is asked. It knows tasks in several states, one of
// which runs on a node that keeps no states, and two nodes.
type fakeClient struct {
	client
	calls []string
	empty bool
}

var (
	noon  = time.Date(2026, 1, 2, 12, 0, 0, 0, time.Local)
	oops  = statemachine.TaskError{Time: noon, Error: "exit status 3"}
	tasks = []metafora.TaskInfo{
		{ID: "a", Props: json.RawMessage(`{"args":["sleep","3"]}`), Owner: "n1", Fence: 7},
		{ID: "b", Props: json.RawMessage(`{}`)},
		{ID: "hourly", Props: json.RawMessage(`{"args":["date"],"at":"2999-01-01T00:00:00Z","every":"1h"}`), Owner: "n1", Fence: 9},
		{ID: "plain", Props: json.RawMessage(`{"args":["date"]}`), Owner: "n2", Fence: 8},
	}
	states = map[string]statemachine.State{
		"a":       {Code: statemachine.Sleeping, Since: noon, Until: noon.Add(time.Hour), Errors: []statemachine.TaskError{oops}},
		"b":       {Code: statemachine.Fault, Errors: []statemachine.TaskError{{Error: "corrupt"}}},
		"over":    {Code: statemachine.Completed, Since: noon, Errors: []statemachine.TaskError{oops, oops}},
		"deleted": {Code: statemachine.Paused, Since: noon},
	}
)

func (c *fakeClient) Task(_ context.Context, id string) (metafora.TaskInfo, error) {
	for _, info := range tasks {
		if info.ID == id {
			return info, nil
		}
	}
	return metafora.TaskInfo{}, fmt.Errorf("task %q: %w", id, metafora.ErrNoTask)
}

func (c *fakeClient) State(_ context.Context, id string) (statemachine.State, error) {
	if id == "b" {
		return statemachine.State{}, statemachine.ErrCorruptState
	}
	if s, ok := states[id]; ok {
		return s, nil
	}
	return statemachine.State{}, statemachine.ErrNoState
}

func (c *fakeClient) States(_ context.Context, ids []string) (map[string]statemachine.State, error) {
	found := map[string]statemachine.State{}
	for _, id := range ids {
		if s, ok := states[id]; ok {
			found[id] = s
		}
	}
	return found, nil
}

func (c *fakeClient) Send(_ context.Context, id string, m statemachine.Message) error {
	c.note("send", id, string(m.Code))
	return nil
}

func (c *fakeClient) note(words ...string) { c.calls = append(c.calls, strings.Join(words, " ")) }

func (c *fakeClient) SubmitTask(_ context.Context, t metafora.Task) error {
	props, err := metafora.EncodeProps(t)
	c.note("submit", t.ID(), string(props))
	return err
}

func (c *fakeClient) DeleteTask(_ context.Context, id string) error {
	c.note("delete", id)
	if id == "gone" {
		return metafora.ErrNoTask
	}
	return nil
}

func (c *fakeClient) SubmitCommand(_ context.Context, node string, cmd metafora.Command) error {
	wire, err := metafora.EncodeCommand(cmd)
	c.note("command", node, string(wire))
	return err
}

func (c *fakeClient) Tasks(context.Context) ([]metafora.TaskInfo, error) {
	if c.empty {
		return nil, nil
	}
	return tasks, nil
}

func (c *fakeClient) Nodes(context.Context) ([]metafora.Node, error) {
	if c.empty {
		return nil, nil
	}
	return []metafora.Node{
		{Name: "n1", Accepting: true, Weight: 1.5, Labels: map[string]string{"stateful": "yes"}},
		{Name: "n2", Weight: 1},
	}, nil
}

func TestActions(t *testing.T) {
	for _, tc := range []struct {
		args  []string
		calls []string
	}{
		{[]string{"submit", "-id", "x/1", "--", "sleep", "3"}, []string{`submit x/1 {"args":["sleep","3"]}`}},
		{[]string{"submit", "-id", "x", "ls", "-l", "--", "-id"}, []string{`submit x {"args":["ls","-l","--","-id"]}`}},
		{[]string{"delete", "a", "b"}, []string{"delete a", "delete b"}},
		{[]string{"submit", "-id", "x", "-at", "2026-01-02T15:04:05Z", "-every", "90m", "date"}, []string{`submit x {"args":["date"],"at":"2026-01-02T15:04:05Z","every":"1h30m0s"}`}},
		{[]string{"pause", "a", "hourly"}, []string{"send a pause", "send hourly pause"}},
		{[]string{"resume", "a", "b", "hourly"}, []string{"send a run", "send b sleep", "send hourly run"}},
		{[]string{"kill", "a", "b"}, []string{"send a kill", "send b kill"}},
		{[]string{"command", "n1", "freeze"}, []string{`command n1 {"command":"freeze"}`}},
		{[]string{"command", "n1", "stop_task", "a"}, []string{`command n1 {"command":"stop_task","parameters":{"task_id":"a"}}`}},
	} {
		act, err := parseAction(tc.args, submission{})
		if err != nil {
			t.Errorf("%q: %v", tc.args, err)
			continue
		}
		c := &fakeClient{}
		if err := act(t.Context(), c, &strings.Builder{}, io.Discard); err != nil {
			t.Errorf("%q: %v", tc.args, err)
		}
		if !slices.Equal(c.calls, tc.calls) {
			t.Errorf("%q: got %q, want %q", tc.args, c.calls, tc.calls)
		}
	}
}

func TestAnyOtherWordBeginsACommand(t *testing.T) {
	act, err := parseAction([]string{"sleep", "3"}, submission{})
	if err != nil {
		t.Fatal(err)
	}
	c, out := &fakeClient{}, &strings.Builder{}
	if err := act(t.Context(), c, out, io.Discard); err != nil {
		t.Fatal(err)
	}
	id := strings.TrimSpace(out.String())
	if want := "submit " + id + ` {"args":["sleep","3"]}`; !strings.HasPrefix(id, "sleep-") || !slices.Equal(c.calls, []string{want}) {
		t.Errorf("printed %q, asked for %q", out, c.calls)
	}
}

func TestUsageErrorsNameTheMistake(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"submit", "no command"},
		{"submit -id", "-id"},
		{"submit -nosuch", "-nosuch"},
		{"tasks -json extra", `"extra"`},
		{"nodes -nosuch", "-nosuch"},
		{"delete", "which task"},
		{"submit -at noon date", "noon"},
		{"submit -every often date", "often"},
		{"submit -every -1h date", "-1h"},
		{"submit -every 1ms date", "1ms"},
		{"pause", "which task"},
		{"state", "which task"},
		{"state -nosuch a", "-nosuch"},
		{"command n1", "which node"},
		{"command n1 dance", `"dance"`},
		{"command n1 freeze now", `"now"`},
		{"command n1 stop_task", "task_id"},
	} {
		_, err := parseAction(strings.Fields(tc.args), submission{})
		var wrong usageError
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: want a usage error that names %s, got %v", tc.args, tc.want, err)
		}
	}
}

func TestDeleteGoesOnAfterAMissingTask(t *testing.T) {
	act, err := parseAction([]string{"delete", "gone", "a"}, submission{})
	if err != nil {
		t.Fatal(err)
	}
	c := &fakeClient{}
	if err := act(t.Context(), c, nil, io.Discard); !errors.Is(err, metafora.ErrNoTask) {
		t.Errorf("got %v, want ErrNoTask", err)
	}
	if !slices.Equal(c.calls, []string{"delete gone", "delete a"}) {
		t.Errorf("asked for %q", c.calls)
	}
}

func TestLists(t *testing.T) {
	in2999 := time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC).Local().Format(time.DateTime)
	for _, tc := range []struct {
		args, want string
		empty      bool
	}{
		{"tasks", `
TASK    OWNER  FENCE  STATE                                         COMMAND
a       n1     7      sleeping until 2026-01-02 13:00:00 (1 error)  sleep 3
b       -      -      fault (1 error)                               not a command
hourly  n1     9      sleeping until ` + in2999 + `            date
plain   n2     8      runnable                                      date
`, false},
		{"tasks", "\nTASK  OWNER  FENCE  STATE  COMMAND\n", true},
		{"tasks -json", "\n[]\n", true},
		{"nodes", `
NODE  ACCEPTING  WEIGHT  STATEFUL
n1    true       1.5     true
n2    false      1       false
`, false},
		{"nodes -json", "\n[]\n", true},
		{"state a", `
task     a
state    sleeping until 2026-01-02 13:00:00 (1 error)
since    2026-01-02 12:00:00
owner    n1
command  sleep 3
error    2026-01-02 12:00:00 exit status 3
`, false},
		{"state hourly", `
task      hourly
state     sleeping until ` + in2999 + `
owner     n1
command   date
schedule  at 2999-01-01T00:00:00Z every 1h0m0s
`, false},
		{"state b over deleted", `
task     b
state    fault (1 error)
command  not a command
error    corrupt
task   over
state  completed (2 errors)
since  2026-01-02 12:00:00
error  2026-01-02 12:00:00 exit status 3
error  2026-01-02 12:00:00 exit status 3
task     deleted
state    paused
deleted  yes, in this state
since    2026-01-02 12:00:00
`, false},
	} {
		act, err := parseAction(strings.Fields(tc.args), submission{})
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := act(t.Context(), &fakeClient{empty: tc.empty}, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		if got := "\n" + out.String(); got != tc.want {
			t.Errorf("%s: got%s\nwant%s", tc.args, got, tc.want)
		}
	}
}

func TestListsForPrograms(t *testing.T) {
	for args, want := range map[string]string{
		"tasks -json":         `"id":"a","props":{"args":["sleep","3"]},"owner":"n1","fence":7,"state":{"state":"sleeping",`,
		"nodes -json":         `{"name":"n2","accepting":false,"weight":1}`,
		"state -json deleted": `[{"id":"deleted","state":{"state":"paused",`,
	} {
		act, err := parseAction(strings.Fields(args), submission{})
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := act(t.Context(), &fakeClient{}, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(out.String())); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(compact.String(), want) {
			t.Errorf("%s: got\n%s\nwant in it\n%s", args, compact.String(), want)
		}
	}
}

func TestOrderForANodeThatKeepsNoStatesIsRefused(t *testing.T) {
	for _, order := range []string{"pause", "resume", "kill"} {
		act, err := parseAction([]string{order, "plain"}, submission{})
		if err != nil {
			t.Fatal(err)
		}
		c := &fakeClient{}
		err = act(t.Context(), c, nil, io.Discard)
		if err == nil || !strings.Contains(err.Error(), `"n2"`) || !strings.Contains(err.Error(), "-stateful") {
			t.Errorf("%s: the error does not name the node and the flag: %v", order, err)
		}
		if len(c.calls) > 0 {
			t.Errorf("%s: asked for %q", order, c.calls)
		}
	}
}

func TestTaskThatDoesNotExistIsNamed(t *testing.T) {
	for _, args := range []string{"state gone a", "pause gone a", "resume gone a", "kill gone a"} {
		act, err := parseAction(strings.Fields(args), submission{})
		if err != nil {
			t.Fatal(err)
		}
		c, out := &fakeClient{}, &strings.Builder{}
		err = act(t.Context(), c, out, io.Discard)
		if !errors.Is(err, metafora.ErrNoTask) || !strings.Contains(err.Error(), `"gone"`) {
			t.Errorf("%s: got %v, want ErrNoTask", args, err)
		}
		if len(c.calls) == 0 && !strings.Contains(out.String(), "sleeping") {
			t.Errorf("%s: nothing was done about the other task", args)
		}
	}
}

func TestScheduleThatNoNodeWouldKeepIsWarnedOf(t *testing.T) {
	for _, tc := range []struct {
		args  string
		empty bool // no nodes
		want  string
	}{
		{"-id x date", true, ""},
		{"-id x -at +1h date", false, ""},
		{"-id x -at +1h date", true, "-stateful"},
	} {
		act, err := parseAction(append([]string{"submit"}, strings.Fields(tc.args)...), submission{})
		if err != nil {
			t.Fatal(err)
		}
		var stdout, stderr strings.Builder
		if err := act(t.Context(), &fakeClient{empty: tc.empty}, &stdout, &stderr); err != nil {
			t.Error(err)
		}
		if stdout.String() != "x\n" || (tc.want == "") != (stderr.Len() == 0) || !strings.Contains(stderr.String(), tc.want) {
			t.Errorf("%s: prints %q, warns %q, want %q", tc.args, stdout.String(), stderr.String(), tc.want)
		}
	}
}

func TestFlagsOfASubmissionAreForNothingElse(t *testing.T) {
	if _, err := parseAction([]string{"tasks"}, submission{id: "x"}); err == nil || !strings.Contains(err.Error(), "-id") {
		t.Errorf("got %v, want an error that names -id", err)
	}
}
