package metafora_test

import (
	"fmt"

	"github.com/metafora-go/metafora"
)

// Backends store what EncodeProps returns.
func ExampleEncodeProps() {
	props, err := metafora.EncodeProps(&Mail{id: "mail-7", To: "ann@example.com"})
	fmt.Println(string(props), err)
	_, err = metafora.EncodeProps(metafora.NewTask(""))
	fmt.Println(err)
	// Output:
	// {"to":"ann@example.com","retries":0} <nil>
	// metafora: invalid ID: empty
}

// Backends call a TaskFunc through DecodeTask, so that no stored task can stop a
// node.
func ExampleDecodeTask() {
	t, err := metafora.DecodeTask(mailTask, "mail-7", []byte(`{"to":"ann@example.com"}`))
	fmt.Println(t.ID(), t.(*Mail).To, err)

	_, err = metafora.DecodeTask(mailTask, "mail-8", []byte(`[1,2]`))
	fmt.Println(err)

	faulty := func(string, []byte) (metafora.Task, error) { panic("not written yet") }
	_, err = metafora.DecodeTask(faulty, "mail-9", nil)
	fmt.Println(err)
	// Output:
	// mail-7 ann@example.com <nil>
	// task "mail-8": mail: json: cannot unmarshal array into Go value of type metafora_test.Mail
	// task "mail-9": task function panicked: not written yet
}
