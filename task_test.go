package metafora_test

import (
	"errors"
	"strings"
	"testing"

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

func TestDecodeTaskTurnsFaultsIntoErrors(t *testing.T) {
	for name, f := range map[string]metafora.TaskFunc{
		"panic":    func(string, []byte) (metafora.Task, error) { panic("made up") },
		"nil":      func(string, []byte) (metafora.Task, error) { return nil, nil },
		"error":    func(string, []byte) (metafora.Task, error) { return nil, errors.New("made up") },
		"wrong ID": func(string, []byte) (metafora.Task, error) { return metafora.NewTask("other"), nil },
	} {
		if _, err := metafora.DecodeTask(f, "t-1", []byte("{}")); err == nil || !strings.Contains(err.Error(), "t-1") {
			t.Errorf("%s: error %v must name the task", name, err)
		}
	}
}

func FuzzDecodeCommand(f *testing.F) {
	for _, s := range []string{`{"command":"freeze"}`, `{"command":"stop_task","parameters":{"task_id":"t1"}}`, `{`, `null`, `{"command":"x"}`, `{"command":"stop_task","parameters":{"task_id":7}}`} {
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
