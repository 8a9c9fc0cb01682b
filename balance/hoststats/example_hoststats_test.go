package hoststats_test

import (
	"fmt"

	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/balance/hoststats"
)

// A node that claims nothing more when 80% of its memory is in use, and releases
// tasks above 90%.
func ExampleNewMemory() {
	_, err := balance.NewResource(hoststats.NewMemory(), 80, 90)
	fmt.Println(err)
	// Output: <nil>
}

// A node that claims nothing more while its processors are busy. It releases
// nothing: a short peak is no reason to move tasks.
func ExampleNewCPU() {
	_, err := balance.NewResource(hoststats.NewCPU(), 90, 100)
	fmt.Println(err)
	// Output: <nil>
}
