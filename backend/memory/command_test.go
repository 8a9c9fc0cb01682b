package memory_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/statemachine"
)

func TestNodeCommandsWaitForTheEndOfAPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		a := join(t, b, "a")
		got := make(chan metafora.Command, 2)
		go func() {
			for range 2 {
				if c, err := a.Command(t.Context()); err == nil {
					got <- c
				}
			}
		}()
		b.Partition("a")
		for _, c := range []metafora.Command{metafora.Freeze(), metafora.Drain()} {
			wantNoErr(t, b.Client().SubmitCommand(t.Context(), "a", c))
		}
		synctest.Wait()
		if len(got) > 0 {
			t.Fatal("a command reached a node that is cut off")
		}
		b.Heal("a")
		if c := <-got; c.Name != metafora.CommandFreeze {
			t.Fatalf("the first command is %q", c.Name)
		}
		if c := <-got; c.Name != metafora.CommandDrain {
			t.Fatalf("the second command is %q", c.Name)
		}
	})
}

// The node that has the name gets the commands, not one that had it.
func TestNodeCommandsGoToTheHolderOfTheName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		old := join(t, b, "a")
		b.Partition("a")
		time.Sleep(ttl)
		successor := join(t, b, "a")
		b.Heal("a")
		go old.Command(t.Context())
		synctest.Wait()
		wantNoErr(t, b.Client().SubmitCommand(t.Context(), "a", metafora.Freeze()))
		synctest.Wait()
		if _, err := successor.Command(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestMalformedNodeCommandsAreErrorsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		a := join(t, b, "a")
		b.PutRawCommand("a", []byte("{"))
		b.PutRawCommand("a", []byte(`{"command":"freeze"}`))
		_, err := a.Command(t.Context())
		wantErr(t, err, metafora.ErrInvalidCommand)
		if c, err := a.Command(t.Context()); err != nil || c.Name != metafora.CommandFreeze {
			t.Fatalf("got %v, %v", c, err)
		}
	})
}

// received returns what a listener's channel holds now.
func received(commands <-chan statemachine.Command) (statemachine.Command, bool) {
	select {
	case c := <-commands:
		return c, true
	default:
		return statemachine.Command{}, false
	}
}

func wantReceived(t *testing.T, commands <-chan statemachine.Command, want statemachine.MessageCode) statemachine.Command {
	t.Helper()
	c, ok := received(commands)
	if !ok || c.Message.Code != want || c.ID == 0 {
		t.Fatalf("received %+v (%t), want %q", c, ok, want)
	}
	return c
}

func wantNothing(t *testing.T, commands <-chan statemachine.Command) {
	t.Helper()
	if c, ok := received(commands); ok {
		t.Fatalf("received %+v, want nothing", c)
	}
}

func send(t *testing.T, b *memory.Broker, id string, m statemachine.Message) {
	t.Helper()
	wantNoErr(t, b.Client().Send(t.Context(), id, m))
}

func TestNewestTaskCommandWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		send(t, b, "t", statemachine.Run())
		send(t, b, "t", statemachine.Pause())
		a := join(t, b, "a")
		commands, stop := a.CommandListener().Listen(a.claim("t")[0])
		defer stop()
		pending := wantReceived(t, commands, statemachine.CodePause)

		send(t, b, "t", statemachine.Run())
		send(t, b, "t", statemachine.Kill())
		if newer := wantReceived(t, commands, statemachine.CodeKill); newer.ID <= pending.ID {
			t.Fatalf("command ID %d after %d", newer.ID, pending.ID)
		}
		wantNothing(t, commands)
	})
}

func TestUnhandledTaskCommandIsTheNextListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		send(t, b, "t", statemachine.Pause())
		a, other := join(t, b, "a"), join(t, b, "other")
		claim := a.claim("t")[0]
		commands, stop := a.CommandListener().Listen(claim)
		wantReceived(t, commands, statemachine.CodePause)
		stop()
		second, stopSecond := a.CommandListener().Listen(claim)
		stopSecond()
		wantNothing(t, second) // what it had not received it gave back
		wantNoErr(t, a.Release(t.Context(), claim))

		claim = other.claim("t")[0]
		third, stopThird := other.CommandListener().Listen(claim)
		defer stopThird()
		c := wantReceived(t, third, statemachine.CodePause)
		wantNoErr(t, other.CommandListener().Handled(t.Context(), claim, c.ID))
		last, stopLast := other.CommandListener().Listen(claim)
		defer stopLast()
		wantNothing(t, last)
	})
}

func TestListenerOfALostClaimHearsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		a, other := join(t, b, "a"), join(t, b, "other")
		stale := a.claim("t")[0]
		commands, stop := a.CommandListener().Listen(stale)
		defer stop()
		b.DeleteOwner("t")
		current := other.claim("t")[0]
		send(t, b, "t", statemachine.Kill())
		wantNothing(t, commands)
		late, stopLate := a.CommandListener().Listen(stale)
		defer stopLate()
		wantNothing(t, late)

		theirs, stopTheirs := other.CommandListener().Listen(current)
		defer stopTheirs()
		c := wantReceived(t, theirs, statemachine.CodeKill)
		wantErr(t, a.CommandListener().Handled(t.Context(), stale, c.ID), metafora.ErrNotOwner)
	})
}

func TestTaskCommandsWaitForTheEndOfAPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		a := join(t, b, "a")
		claim := a.claim("t")[0]
		commands, stop := a.CommandListener().Listen(claim)
		defer stop()
		send(t, b, "t", statemachine.Pause())
		wantReceived(t, commands, statemachine.CodePause)
		b.Partition("a")
		send(t, b, "t", statemachine.Run())
		send(t, b, "t", statemachine.Kill())
		wantNothing(t, commands)
		b.Heal("a")
		wantReceived(t, commands, statemachine.CodeKill)
		b.Partition("a")
		b.Heal("a")
		wantNothing(t, commands) // it has been delivered to this listener
	})
}

func TestTaskCommandsAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		client := b.Client()
		wantErr(t, client.Send(t.Context(), "ghost", statemachine.Run()), metafora.ErrNoTask)
		wantErr(t, client.Send(t.Context(), "t", statemachine.Message{}), statemachine.ErrInvalidMessage)
		wantErr(t, b.PutRawTaskCommand("ghost", nil), metafora.ErrNoTask)

		var logs strings.Builder
		a := join(t, b, "a", memory.WithLogger(hclog.New(&hclog.LoggerOptions{Output: &logs})))
		claim := a.claim("t")[0]
		wantNoErr(t, b.PutRawTaskCommand("t", []byte("{")))
		for range 2 {
			commands, stop := a.CommandListener().Listen(claim)
			wantNothing(t, commands)
			stop()
		}
		if n := strings.Count(logs.String(), "malformed command dropped"); n != 1 {
			t.Fatalf("a malformed command was dropped %d times:\n%s", n, logs.String())
		}
		commands, stop := a.CommandListener().Listen(claim)
		defer stop()
		send(t, b, "t", statemachine.Pause())
		wantReceived(t, commands, statemachine.CodePause)
	})
}
