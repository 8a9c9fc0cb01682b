package main

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/metafora-go/metafora"
)

// fakeClient notes what it is asked, and knows two tasks and a node.
type fakeClient struct {
	metafora.Client
	calls []string
	empty bool
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
	return []metafora.TaskInfo{
		{ID: "a", Props: json.RawMessage(`{"args":["sleep","3"]}`), Owner: "n1", Fence: 7},
		{ID: "b", Props: json.RawMessage(`{}`)},
	}, nil
}

func (c *fakeClient) Nodes(context.Context) ([]metafora.Node, error) {
	if c.empty {
		return nil, nil
	}
	return []metafora.Node{{Name: "n1", Accepting: true, Weight: 1.5}}, nil
}

func TestActions(t *testing.T) {
	for _, tc := range []struct {
		args  []string
		calls []string
	}{
		{[]string{"submit", "-id", "x/1", "--", "sleep", "3"}, []string{`submit x/1 {"args":["sleep","3"]}`}},
		{[]string{"submit", "-id", "x", "ls", "-l", "--", "-id"}, []string{`submit x {"args":["ls","-l","--","-id"]}`}},
		{[]string{"delete", "a", "b"}, []string{"delete a", "delete b"}},
		{[]string{"command", "n1", "freeze"}, []string{`command n1 {"command":"freeze"}`}},
		{[]string{"command", "n1", "stop_task", "a"}, []string{`command n1 {"command":"stop_task","parameters":{"task_id":"a"}}`}},
	} {
		act, err := parseAction(tc.args, submission{})
		if err != nil {
			t.Errorf("%q: %v", tc.args, err)
			continue
		}
		c := &fakeClient{}
		if err := act(t.Context(), c, &strings.Builder{}); err != nil {
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
	if err := act(t.Context(), c, out); err != nil {
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
	if err := act(t.Context(), c, nil); !errors.Is(err, metafora.ErrNoTask) {
		t.Errorf("got %v, want ErrNoTask", err)
	}
	if !slices.Equal(c.calls, []string{"delete gone", "delete a"}) {
		t.Errorf("asked for %q", c.calls)
	}
}

func TestLists(t *testing.T) {
	for _, tc := range []struct {
		args, want string
		empty      bool
	}{
		{"tasks", "TASK  OWNER  FENCE  COMMAND\na     n1     7      sleep 3\nb     -      -      not a command\n", false},
		{"tasks", "TASK  OWNER  FENCE  COMMAND\n", true},
		{"tasks -json", "[]\n", true},
		{"nodes", "NODE  ACCEPTING  WEIGHT\nn1    true       1.5\n", false},
		{"nodes -json", "[\n  {\n    \"name\": \"n1\",\n    \"accepting\": true,\n    \"weight\": 1.5\n  }\n]\n", false},
		{"nodes -json", "[]\n", true},
	} {
		act, err := parseAction(strings.Fields(tc.args), submission{})
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := act(t.Context(), &fakeClient{empty: tc.empty}, &out); err != nil {
			t.Fatal(err)
		}
		if out.String() != tc.want {
			t.Errorf("%s: got\n%s\nwant\n%s", tc.args, out.String(), tc.want)
		}
	}
}
