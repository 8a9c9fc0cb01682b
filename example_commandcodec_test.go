package metafora_test

import (
	"fmt"

	"github.com/metafora-go/metafora"
)

// The wire form of commands is JSON, for tools in other languages.
func ExampleEncodeCommand() {
	for _, cmd := range []metafora.Command{
		metafora.Freeze(), metafora.Unfreeze(), metafora.Balance(), metafora.Drain(), metafora.StopTask("tenant/42"), {Name: "explode"},
	} {
		wire, err := metafora.EncodeCommand(cmd)
		fmt.Println(string(wire), err)
	}
	// Output:
	// {"command":"freeze"} <nil>
	// {"command":"unfreeze"} <nil>
	// {"command":"balance"} <nil>
	// {"command":"drain"} <nil>
	// {"command":"stop_task","parameters":{"task_id":"tenant/42"}} <nil>
	//  metafora: invalid command: unknown command "explode"
}

func ExampleDecodeCommand() {
	cmd, err := metafora.DecodeCommand([]byte(`{"command":"stop_task","parameters":{"task_id":"tenant/42"}}`))
	fmt.Println(cmd.Name, cmd.TaskID(), err)
	_, err = metafora.DecodeCommand([]byte(`{"command":"stop_task"}`))
	fmt.Println(err)
	// Output:
	// stop_task tenant/42 <nil>
	// metafora: invalid command: stop_task needs the parameter task_id: metafora: invalid ID: empty
}
