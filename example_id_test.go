package metafora_test

import (
	"errors"
	"fmt"

	"github.com/metafora-go/metafora"
)

// NewTask makes a task that is an ID and nothing else.
func ExampleNewTask() {
	t := metafora.NewTask("tenant/42/report")
	fmt.Println(t.ID(), t == metafora.NewTask("tenant/42/report"))
	// Output:
	// tenant/42/report true
}

// PlainTask is the TaskFunc for such tasks, and the default of all backends.
func ExamplePlainTask() {
	t, err := metafora.PlainTask("report", []byte(`{"ignored":true}`))
	fmt.Println(t, err)
	// Output:
	// report <nil>
}

func ExampleValidateID() {
	for _, id := range []string{"tenant/42", "with space", "日本語", "..", "", "two\nlines"} {
		err := metafora.ValidateID(id)
		fmt.Println(err, errors.Is(err, metafora.ErrInvalidID))
	}
	// Output:
	// <nil> false
	// <nil> false
	// <nil> false
	// <nil> false
	// metafora: invalid ID: empty true
	// metafora: invalid ID: "two\nlines" has a control character true
}
