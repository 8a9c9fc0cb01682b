package simtest_test

import (
	"testing"

	"github.com/metafora-go/metafora/simtest"
)

func TestReplyLostOnClaim(t *testing.T) {
	simtest.Script(t, simtest.Config{Nodes: 2}, func(s *simtest.Sim) {
		s.Start()
		s.Submit("t1")
		s.Hold("", simtest.OpClaim, "t1").LoseReply()
		s.Until("t1 runs", func() bool { return len(s.Runs("t1")) == 1 })
		s.Settle()
	})
}
