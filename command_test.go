package metafora_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/metafora-go/metafora"
)

func TestCommandsRoundTrip(t *testing.T) {
	for wire, cmd := range map[string]metafora.Command{
		`{"command":"freeze"}`:   metafora.Freeze(),
		`{"command":"unfreeze"}`: metafora.Unfreeze(),
		`{"command":"balance"}`:  metafora.Balance(),
		`{"command":"drain"}`:    metafora.Drain(),
		`{"command":"stop_task","parameters":{"task_id":"a/b é"}}`:   metafora.StopTask("a/b é"),
		`{"command":"freeze","parameters":{"by":"me","n":[1,null]}}`: {Name: "freeze", Parameters: map[string]any{"by": "me", "n": []any{1.0, nil}}},
	} {
		got, err := metafora.EncodeCommand(cmd)
		if err != nil || string(got) != wire {
			t.Errorf("%+v is %s on the wire (error %v), want %s", cmd, got, err, wire)
		}
		if back, err := metafora.DecodeCommand([]byte(wire)); err != nil || !reflect.DeepEqual(back, cmd) {
			t.Errorf("%s is %+v (error %v), want %+v", wire, back, err, cmd)
		}
	}
}

func TestInvalidCommandsAreRefused(t *testing.T) {
	huge := strings.Repeat("x", metafora.MaxCommandLen)
	for _, cmd := range []metafora.Command{
		{},
		{Name: "explode"},
		{Name: huge},
		{Name: "Freeze"},
		{Name: "stop_task"},
		metafora.StopTask(""), metafora.StopTask("a\nb"),
		metafora.StopTask(huge),
		{Name: "stop_task", Parameters: map[string]any{"task_id": 7}},
		{Name: "freeze", Parameters: map[string]any{"x": huge}},
		{Name: "freeze", Parameters: map[string]any{"x": func() {}}},
	} {
		if wire, err := metafora.EncodeCommand(cmd); wire != nil || !errors.Is(err, metafora.ErrInvalidCommand) || len(err.Error()) > 1000 {
			t.Errorf("encode %.60q: %.60q, error %.200v", cmd.Name, wire, err)
		}
	}
	for _, wire := range []string{
		"", "{", "null", "[]", "7", `"freeze"`, "\x00\xff", `{"command":7}`, `{"command":""}`, `{"command":"explode"}`,
		`{"command":"stop_task"}`, `{"command":"stop_task","parameters":{"task_id":7}}`, `{"command":"stop_task","parameters":[]}`,
		`{"command":"freeze"} {}`, `{"command":"freeze","parameters":{"x":"` + huge + `"}}`, strings.Repeat("[", metafora.MaxCommandLen),
	} {
		if _, err := metafora.DecodeCommand([]byte(wire)); !errors.Is(err, metafora.ErrInvalidCommand) || len(err.Error()) > 1000 {
			t.Errorf("decode %.60q: error %.200v", wire, err)
		}
	}
}

func FuzzDecodeCommand(f *testing.F) {
	for _, s := range []string{
		"", "{", "null", "\xff", `{"command":"freeze"}`, `{"command":"x"}`, `{"command":"stop_task","parameters":{"task_id":"t1"}}`,
		`{"command":"stop_task","parameters":{"task_id":7}}`, `{"command":"drain","parameters":{"a":[1,{"b":null}],"":1e9}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := metafora.DecodeCommand(b)
		if err != nil {
			if !errors.Is(err, metafora.ErrInvalidCommand) {
				t.Fatalf("error %v, want ErrInvalidCommand", err)
			}
			return
		}
		wire, err := metafora.EncodeCommand(c)
		if err != nil {
			t.Skip() // valid when read, too large when written again
		}
		if again, err := metafora.DecodeCommand(wire); err != nil || again.Name != c.Name || again.TaskID() != c.TaskID() {
			t.Fatalf("%+v became %+v: %v", c, again, err)
		}
	})
}
