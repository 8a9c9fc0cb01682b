package metafora_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
)

// Mail is a task with properties: what json.Marshal makes of it is stored.
type Mail struct {
	id      string
	To      string `json:"to"`
	Retries int    `json:"retries"`
}

func (m *Mail) ID() string { return m.id }

// mailTask is the TaskFunc that turns the stored properties back into a Mail.
func mailTask(id string, props []byte) (metafora.Task, error) {
	m := &Mail{id: id}
	if err := json.Unmarshal(props, m); err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	return m, nil
}

// A TaskFunc gives handlers tasks of the program's own type. A stored task that
// it refuses is logged and skipped.
func ExampleTaskFunc() {
	broker := memory.NewBroker()
	client := broker.Client()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, t := range []metafora.Task{metafora.NewTask("not a mail"), &Mail{id: "mail-7", To: "ann@example.com", Retries: 3}} {
		if err := client.SubmitTask(ctx, t); err != nil {
			fmt.Println(err)
		}
	}
	info, err := client.Task(ctx, "mail-7")
	fmt.Println(string(info.Props), err)

	sent := make(chan string)
	handler := metafora.SimpleHandler(func(_ context.Context, t metafora.Task, _ <-chan struct{}) bool {
		if m := t.(*Mail); m.To != "" {
			sent <- fmt.Sprintf("%s to %s", m.ID(), m.To)
		}
		return true
	})
	coord := broker.Coordinator("node-1", memory.WithTaskFunc(mailTask))
	node, err := metafora.NewConsumer(coord, handler, balance.All())
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error)
	go func() { ended <- node.Run(ctx) }()
	fmt.Println(<-sent)
	cancel()
	fmt.Println("ended:", <-ended)
	// Output:
	// {"to":"ann@example.com","retries":3} <nil>
	// mail-7 to ann@example.com
	// ended: <nil>
}
