package metafora_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/metafora-go/metafora"
)

func TestValidateID(t *testing.T) {
	for _, id := range []string{"a", "tenant/42", "owner", "props", "..", "a b", "été", "%2F", strings.Repeat("x", metafora.MaxIDLen)} {
		if err := metafora.ValidateID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	for _, id := range []string{"", "a\nb", "\x00", "\xff", "\u0085", strings.Repeat("x", metafora.MaxIDLen+1)} {
		if err := metafora.ValidateID(id); !errors.Is(err, metafora.ErrInvalidID) {
			t.Errorf("%q: error %v, want ErrInvalidID", id, err)
		}
	}
}

// longest is an ID of the largest size.
var longest = strings.Repeat("é", metafora.MaxIDLen/2)

func TestInvalidIDsAreNamed(t *testing.T) {
	for id, want := range map[string]string{
		"": "empty", "a\nb": `"a\nb"`, "\xff": `"\xff"`, longest + "x": "513 bytes",
		strings.Repeat("\xff", 600): "600 bytes",
	} {
		err := metafora.ValidateID(id)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: error %v, want one with %s", id, err, want)
		}
		if len(err.Error()) > 1000 {
			t.Errorf("%.20q: the error has %d bytes", id, len(err.Error()))
		}
	}
}

func TestPlainTask(t *testing.T) {
	task, err := metafora.PlainTask("a/b", []byte("whatever"))
	if err != nil || task != metafora.NewTask("a/b") || fmt.Sprint(task) != "a/b" {
		t.Errorf("task %v, error %v", task, err)
	}
	props, err := metafora.EncodeProps(task)
	if err != nil || string(props) != "{}" {
		t.Errorf("properties %s, error %v", props, err)
	}
}

func TestEncodePropsTurnsFaultsIntoErrors(t *testing.T) {
	for name, c := range map[string]struct {
		task metafora.Task
		want string
	}{
		"nil":         {nil, "nil task"},
		"nil pointer": {(*described)(nil), "panic"},
		"no ID":       {&described{}, "empty"},
		"invalid ID":  {&described{id: "a\nb"}, `"a\nb"`},
		"no JSON":     {noJSON{"t-1", func() ([]byte, error) { return nil, errMadeUp }}, "t-1"},
		"bad JSON":    {noJSON{"t-1", func() ([]byte, error) { return []byte("{"), nil }}, "t-1"},
		"panic":       {noJSON{"t-1", func() ([]byte, error) { panic(errMadeUp) }}, "t-1"},
	} {
		props, err := metafora.EncodeProps(c.task)
		if err == nil || props != nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: properties %s, error %v, want one with %s", name, props, err, c.want)
		}
	}
}

// noJSON is a Task with a MarshalJSON of its own.
type noJSON struct {
	id   string
	json func() ([]byte, error)
}

func (n noJSON) ID() string                   { return n.id }
func (n noJSON) MarshalJSON() ([]byte, error) { return n.json() }

func TestDecodeTaskTurnsFaultsIntoErrors(t *testing.T) {
	for name, f := range map[string]metafora.TaskFunc{
		"panic":          func(string, []byte) (metafora.Task, error) { panic("made up") },
		"nil":            func(string, []byte) (metafora.Task, error) { return nil, nil },
		"error":          func(string, []byte) (metafora.Task, error) { return nil, errors.New("made up") },
		"typed nil":      func(string, []byte) (metafora.Task, error) { return (*described)(nil), nil },
		"error and task": func(id string, _ []byte) (metafora.Task, error) { return metafora.NewTask(id), errMadeUp },
		"wrong ID":       func(string, []byte) (metafora.Task, error) { return metafora.NewTask("other"), nil },
	} {
		if task, err := metafora.DecodeTask(f, "t-1", []byte("{}")); err == nil || task != nil || !strings.Contains(err.Error(), "t-1") {
			t.Errorf("%s: task %v, error %v, want no task and an error that names it", name, task, err)
		}
	}
	if _, err := metafora.DecodeTask(nil, "t-1", nil); err == nil {
		t.Error("no task function: no error")
	}
}

func FuzzValidateID(f *testing.F) {
	for _, id := range []string{"", "a", "tenant/42", "..", "a b", "a\nb", "\x00", "\xff", "\u0085", "\u2028", "日本語", longest, longest + "x"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		err := metafora.ValidateID(id)
		valid := id != "" && len(id) <= metafora.MaxIDLen && utf8.ValidString(id) && !strings.ContainsFunc(id, unicode.IsControl)
		switch {
		case valid != (err == nil):
			t.Fatalf("%q: error %v, want valid to be %t", id, err, valid)
		case err != nil && !errors.Is(err, metafora.ErrInvalidID):
			t.Fatalf("%q: error %v does not wrap %v", id, err, metafora.ErrInvalidID)
		case err != nil && (!utf8.ValidString(err.Error()) || strings.ContainsFunc(err.Error(), unicode.IsControl)):
			t.Fatalf("%q: the error cannot be printed: %q", id, err)
		}
		// What can name a task can be sent in a command, and comes back the same.
		wire, err := metafora.EncodeCommand(metafora.StopTask(id))
		if valid != (err == nil) {
			t.Fatalf("%q: encode a command: %v", id, err)
		}
		if cmd, err := metafora.DecodeCommand(wire); valid && (err != nil || cmd.TaskID() != id) {
			t.Fatalf("%q came back as %q: %v", id, cmd.TaskID(), err)
		}
	})
}

// jsonTask has properties in JSON, as most tasks have.
type jsonTask struct {
	id   string
	Text string         `json:"text"`
	Args []int          `json:"args,omitempty"`
	More map[string]any `json:"more,omitempty"`
}

func (j *jsonTask) ID() string { return j.id }

func decodeJSONTask(id string, props []byte) (metafora.Task, error) {
	j := &jsonTask{id: id}
	return j, json.Unmarshal(props, j)
}

func FuzzDecodeTask(f *testing.F) {
	for _, props := range []string{"", "{}", "{", "null", "[]", `"text"`, `{"text":7}`, `{"text":"x","args":[1,2],"more":{"a":{}}}`, "\x00\xff"} {
		f.Add("t-1", []byte(props))
	}
	f.Add("\xff", []byte(`{"text":"\xff"}`))
	f.Fuzz(func(t *testing.T, id string, props []byte) {
		task, err := metafora.DecodeTask(decodeJSONTask, id, props)
		if (task == nil) != (err != nil) {
			t.Fatalf("task %v, error %v: want one of the two", task, err)
		}
		if err != nil || metafora.ValidateID(id) != nil {
			return
		}
		stored, err := metafora.EncodeProps(task)
		if err != nil {
			t.Fatalf("%+v cannot be stored: %v", task, err)
		}
		again, err := metafora.DecodeTask(decodeJSONTask, id, stored)
		if err != nil {
			t.Fatalf("%s cannot be read back: %v", stored, err)
		}
		if restored, err := metafora.EncodeProps(again); err != nil || !bytes.Equal(restored, stored) {
			t.Fatalf("%s became %s: %v", stored, restored, err)
		}
	})
}
