package memory_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/statemachine"
)

func TestObserverSeesEachWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		var seen []string
		see := func(format string, args ...any) { seen = append(seen, fmt.Sprintf(format, args...)) }
		kinds := []string{"task", "owner", "state", "command", "node"}
		b.Observe(func(c memory.Change) {
			switch {
			case c.Gone:
				see("@%d %s %s gone", c.Revision, kinds[c.Kind], c.ID)
			default:
				see("@%d %s %s %s %d", c.Revision, kinds[c.Kind], c.ID, c.Node, c.Lease)
			}
		})
		want := func(what string, list ...string) {
			t.Helper()
			if !slices.Equal(seen, list) {
				t.Errorf("%s: the observer sees %q, want %q", what, seen, list)
			}
			seen = nil
		}
		ctx, cl := t.Context(), b.Client()
		a := join(t, b, "a")
		want("join", "@1 node a  1")
		submit(t, b, "t")
		claim := a.claim("t")[0]
		want("submit and claim", "@2 task t  0", "@3 owner t a 1")
		wantNoErr(t, cl.Send(ctx, "t", statemachine.Pause()))
		wantNoErr(t, a.StateStore().Store(ctx, claim, statemachine.State{Code: statemachine.Paused}, 4))
		want("command and state", "@4 command t  0", "@5 state t  0", "@5 command t gone")
		wantNoErr(t, cl.Send(ctx, "t", statemachine.Run()))
		wantNoErr(t, a.Done(ctx, claim))
		want("done", "@6 command t  0", "@7 owner t gone", "@7 task t gone", "@7 command t gone")
		submit(t, b, "t")
		want("submit anew", "@8 task t  0", "@8 state t gone")
		a.claim("t")
		b.Kill("a")
		end, ok := b.LeaseEnd(1)
		if left := time.Until(end); !ok || left <= 0 || left > 10*time.Second {
			t.Errorf("the lease ends in %v (%t)", left, ok)
		}
		time.Sleep(time.Until(end))
		if _, ok := b.LeaseEnd(1); ok {
			t.Error("the lease has an end although it has ended")
		}
		want("expiry", "@9 owner t a 1", "@10 owner t gone", "@10 node a gone")
		b.Observe(nil)
		submit(t, b, "unseen")
		want("without observer")
	})
}

func TestMalformedCommandIsSeenToGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		a := join(t, b, "a")
		claim := a.claim("t")[0]
		wantNoErr(t, b.PutRawTaskCommand("t", []byte("nonsense")))
		gone := uint64(0)
		b.Observe(func(c memory.Change) { gone = c.Revision })
		before := b.Revision()
		_, stop := a.CommandListener().Listen(claim)
		defer stop()
		if gone != before+1 {
			t.Errorf("the command goes at revision %d, want %d", gone, before+1)
		}
	})
}

// A node that wakes without a network looks at its clock all the same.
func TestPausedNodeThatIsCutOffLosesItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		a := join(t, b, "a")
		a.claim("t")
		b.Pause("a")
		time.Sleep(20 * time.Second)
		b.Partition("a")
		a.mu.Lock()
		defer a.mu.Unlock()
		if got := a.losses; len(got) != 1 {
			t.Errorf("the node has lost %v, want its claim", got)
		}
		_, err := a.Claim(t.Context(), metafora.NewTask("t"))
		if err == nil {
			t.Error("a node that is cut off claims a task")
		}
	})
}
