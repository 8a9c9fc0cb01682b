package simtest_test

import (
	"testing"

	"github.com/metafora-go/metafora/simtest"
)

// One schedule, written down: a node is killed between its claim and its first
// write, and the other takes over.
func ExampleScript() {
	var t *testing.T // that of the test function in which this is
	simtest.Script(t, simtest.Config{Nodes: 2}, func(s *simtest.Sim) {
		r := newRows()
		s.Handle(writer(s, r.putFenced))
		s.Start()
		s.Submit("t1")
		s.Hold("", "write", "t1")
		first, _ := s.Owner("t1")
		s.Crash(first)
		s.Until("the other runs t1", func() bool {
			node, _ := s.Owner("t1")
			return node != first && len(s.Runs("t1")) == 1
		})
		s.Settle()
	})
}
