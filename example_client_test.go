package metafora_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
)

// A Client submits tasks and looks at them from anywhere.
func ExampleClient() {
	ctx := context.Background()
	var client metafora.Client = memory.NewBroker().Client()

	fmt.Println(client.SubmitTask(ctx, &Mail{id: "mail-1", To: "ann@example.com"}))
	err := client.SubmitTask(ctx, metafora.NewTask("mail-1"))
	fmt.Println("there already:", errors.Is(err, metafora.ErrTaskExists))

	// In a batch, each task succeeds or fails by itself.
	err = client.SubmitTasks(ctx, []metafora.Task{
		metafora.NewTask("mail-1"), metafora.NewTask("mail-2"), metafora.NewTask("mail-3"),
	})
	var all interface{ Unwrap() []error }
	if errors.As(err, &all) {
		fmt.Println(len(all.Unwrap()), "of 3 failed")
	}

	fmt.Println(client.DeleteTask(ctx, "mail-3"))
	tasks, err := client.Tasks(ctx)
	for _, t := range tasks {
		fmt.Printf("%s %s owned by %q\n", t.ID, t.Props, t.Owner)
	}
	_, err = client.Task(ctx, "mail-3")
	fmt.Println("gone:", errors.Is(err, metafora.ErrNoTask))
	// Output:
	// <nil>
	// there already: true
	// 1 of 3 failed
	// <nil>
	// mail-1 {"to":"ann@example.com","retries":0} owned by ""
	// mail-2 {} owned by ""
	// gone: true
}
