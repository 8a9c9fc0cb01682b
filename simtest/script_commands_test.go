package simtest_test

import (
	"context"
	"slices"
	"testing"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/simtest"
	"github.com/metafora-go/metafora/statemachine"
)

// received notes what the handlers of a task are told on which node, and answers
// each command with itself.
type received []string

func (r *received) handler(ctx context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
	select {
	case m := <-commands:
		claim, _ := metafora.ClaimFromContext(ctx)
		if m != statemachine.Release() {
			*r = append(*r, claim.Node+" "+m.String())
		}
		return m
	case <-ctx.Done():
		return statemachine.Release()
	}
}

// A command comes while the task is handed over: its old owner has not heard of it
// and its new one gets it, once.
func TestCommandDuringHandOver(t *testing.T) {
	for _, backend := range []simtest.Backend{simtest.Etcd, simtest.Memory} {
		t.Run(string(backend), func(t *testing.T) {
			var got received
			cfg := eager(2)
			cfg.Backend = backend
			simtest.Script(t, cfg, func(s *simtest.Sim) {
				s.HandleStateful(got.handler)
				s.Submit("t1")
				s.Until("t1 runs", runs(s, "t1"))
				node, _ := s.Owner("t1")
				s.Shutdown(node)
				hand := s.Hold(node, simtest.OpRelease, "t1")
				s.Send("t1", statemachine.Pause())
				hand.Pass()
				heir := map[string]string{"a": "b", "b": "a"}[node]
				s.Until("the heir has it", runsOn(s, "t1", heir))
				s.Until("the heir is told", func() bool { return len(got) > 0 })
				s.Settle()
				if !slices.Equal(got, received{heir + " pause"}) {
					s.Fatalf("the handlers were told %q", got)
				}
			})
		})
	}
}

// A command is handled, and the reply to the write that says so is lost: the state
// is stored once, and the next owner does not get the command again.
func TestCommandWhoseHandlingIsNotAnswered(t *testing.T) {
	var got received
	simtest.Script(t, eager(2), func(s *simtest.Sim) {
		s.HandleStateful(got.handler)
		s.Submit("t1")
		s.Until("t1 runs", runs(s, "t1"))
		node, _ := s.Owner("t1")
		s.Send("t1", statemachine.Pause())
		s.Hold(node, simtest.OpStore, "t1").LoseReply()
		s.Crash(node)
		s.Until("t1 has moved", func() bool { owner, _ := s.Owner("t1"); return owner != "" && owner != node })
		s.Settle()
		if !slices.Equal(got, received{node + " pause"}) {
			s.Fatalf("the handlers were told %q", got)
		}
	})
}

// A command is sent when a claim has taken effect and was not answered yet. The node has
// heard of it when the answer comes, which says that there was none.
func TestCommandIsSentBeforeAClaimIsAnswered(t *testing.T) {
	var got received
	simtest.Script(t, eager(1), func(s *simtest.Sim) {
		s.HandleStateful(got.handler)
		s.Start()
		s.Submit("t1")
		claim := s.Hold("a", simtest.OpClaim, "t1")
		claim.Answer()
		s.Send("t1", statemachine.Pause())
		s.Flow()
		claim.Pass()
		s.Settle()
		if !slices.Equal(got, received{"a pause"}) {
			s.Fatalf("the handler was told %q", got)
		}
	})
}

// A drained node's handler has had its time, and its claim is gone, when it answers at
// last: the node stores no state of a task that is not its own.
func TestLastAnswerUnderALostClaim(t *testing.T) {
	onEach(t, eager(1), func(s *simtest.Sim) {
		s.HandleStateful(func(ctx context.Context, _ metafora.Task, _ <-chan statemachine.Message) statemachine.Message {
			<-ctx.Done()
			_ = s.Gate(ctx, "clean up")
			return statemachine.Pause()
		})
		s.Start()
		s.Submit("t1")
		s.Until("a runs t1", runsOn(s, "t1", "a"))
		s.Command("a", metafora.Drain())
		answer := s.Hold("a", "clean up", "t1")
		s.DeleteOwner("t1")
		answer.Pass()
		s.Settle()
	})
}
