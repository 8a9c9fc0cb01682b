package koalemos_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/examples/internal/koalemos"
)

func TestTaskSurvivesTheBroker(t *testing.T) {
	task, err := koalemos.NewTask("tenant/42", "sh", "-c", "echo \"$1\" ü\n", "")
	if err != nil {
		t.Fatal(err)
	}
	props, err := metafora.EncodeProps(task)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := metafora.DecodeTask(koalemos.DecodeTask, task.ID(), props)
	if err != nil {
		t.Fatal(err)
	}
	if got := decoded.(*koalemos.Task); got.ID() != task.ID() || !slices.Equal(got.Args, task.Args) {
		t.Errorf("stored %q, read %q", task, got)
	}
}

func TestTaskWithoutCommandIsRefused(t *testing.T) {
	for _, props := range []string{``, `null`, `7`, `{}`, `{"args":[]}`, `{"args":[""]}`, `{"args":"sleep 3"}`} {
		if task, err := koalemos.DecodeTask("t", []byte(props)); err == nil {
			t.Errorf("%s became the task %v", props, task)
		}
	}
	if _, err := koalemos.NewTask("t"); err == nil {
		t.Error("NewTask without a command succeeded")
	}
}

func TestTaskIDIsCheckedOrMade(t *testing.T) {
	if _, err := koalemos.NewTask("a\nb", "true"); !errors.Is(err, metafora.ErrInvalidID) {
		t.Errorf("NewTask with a newline in the ID returned %v", err)
	}
	a, errA := koalemos.NewTask("", "/bin/sleep", "3")
	b, errB := koalemos.NewTask("", "/bin/sleep", "3")
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	if a.ID() == b.ID() || !strings.HasPrefix(a.ID(), "sleep-") {
		t.Errorf("made the IDs %q and %q", a.ID(), b.ID())
	}
}

func TestTaskReadsLikeACommandLine(t *testing.T) {
	task, err := koalemos.NewTask("t", "sh", "-c", "exit 3")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := task.String(), `sh -c "exit 3"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
