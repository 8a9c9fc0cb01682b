package statemachine_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

func TestCommandsChangeTheStateOfARunningTask(t *testing.T) {
	t.Run("called back", func(t *testing.T) {
		b := &fakeBroker{}
		testCommandsChangeTheState(t, b, b)
	})
	t.Run("by channel", func(t *testing.T) {
		b := &fakeBroker{}
		testCommandsChangeTheState(t, b, channelListener{b})
	})
}

func testCommandsChangeTheState(t *testing.T, b *fakeBroker, l statemachine.CommandListener) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := startOn(t, b, l, obey)
		for _, step := range []struct {
			send statemachine.Message
			want statemachine.StateCode
		}{
			{statemachine.Pause(), statemachine.Paused},
			{statemachine.Run(), statemachine.Runnable},
			{statemachine.Sleep(inAnHour()), statemachine.Sleeping},
			{statemachine.Run(), statemachine.Runnable},
		} {
			b.send(t, step.send)
			synctest.Wait()
			o.wantState(t, step.want)
			if c := b.pendingCommand(); c.ID != 0 {
				t.Fatalf("%v is still pending", c)
			}
		}
		b.send(t, statemachine.Kill())
		o.wantDone(t, true)
		wantHistory(t, b, "paused/1 runnable/2 sleeping/3 runnable/4 killed/5 ")
		if b.listening() {
			t.Error("the machine still listens")
		}
	})
}

func TestCommandSentBeforeTheTaskRunsIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{}
		b.send(t, statemachine.Pause())
		b.send(t, statemachine.Kill()) // The newest wins.
		start(t, b, obey).wantDone(t, true)
		wantHistory(t, b, "killed/2 ")
	})
}

func TestCommandThatChangesNothingIsConsumedWithoutAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{}
		o := start(t, b, obey)
		for _, m := range []statemachine.Message{statemachine.Run(), statemachine.Checkpoint()} {
			b.send(t, m)
			synctest.Wait()
			o.wantState(t, statemachine.Runnable)
			if c := b.pendingCommand(); c.ID != 0 {
				t.Fatalf("%v is still pending", c)
			}
		}
		b.send(t, statemachine.Release())
		o.wantDone(t, false)
		wantHistory(t, b, "")
		if c := b.pendingCommand(); c.ID != 0 {
			t.Fatalf("%v is still pending", c)
		}
	})
}

func TestCommandThatIsNotAllowedIsRemovedAndIgnored(t *testing.T) {
	for _, c := range []struct {
		in   statemachine.State
		send statemachine.Message
	}{
		{statemachine.State{Code: statemachine.Paused}, statemachine.Complete()},
		{statemachine.State{Code: statemachine.Paused}, statemachine.Message{Code: "dance"}},
		{statemachine.State{Code: statemachine.Runnable}, statemachine.Message{Code: "dance"}},
		{statemachine.State{Code: statemachine.Fault, Errors: []statemachine.TaskError{{Error: "x"}}}, statemachine.Run()},
		{statemachine.State{Code: statemachine.Fault, Errors: []statemachine.TaskError{{Error: "x"}}}, statemachine.Kill()},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := &fakeBroker{}
			b.put(t, c.in)
			o := start(t, b, obey)
			b.send(t, c.send)
			synctest.Wait()
			o.wantState(t, c.in.Code)
			o.Stop()
			o.wantDone(t, false)
			wantHistory(t, b, "")
			if left := b.pendingCommand(); left.ID != 0 {
				t.Errorf("%v in state %v is still pending", left, c.in)
			}
		})
	}
}

func TestStragglerOfAHandlerCannotStealALaterCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stolen := make(chan statemachine.Message, 1)
		straggle := func(_ context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
			go func() {
				select {
				case m := <-commands:
					stolen <- m
				case <-t.Context().Done():
				}
			}()
			return statemachine.Pause()
		}
		b := &fakeBroker{}
		o := start(t, b, straggle)
		synctest.Wait()
		b.send(t, statemachine.Kill())
		o.wantDone(t, true)
		select {
		case m := <-stolen:
			t.Errorf("a handler that had returned got %v", m)
		default:
		}
		wantHistory(t, b, "paused/0 killed/1 ")
	})
}

func TestCommandNotReceivedByTheHandlerIsForTheNextState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		deaf := func(context.Context, metafora.Task, <-chan statemachine.Message) statemachine.Message {
			<-proceed
			return statemachine.Pause()
		}
		b := &fakeBroker{}
		o := start(t, b, deaf)
		b.send(t, statemachine.Sleep(inAnHour()))
		synctest.Wait() // The command is in the handler's channel now.
		close(proceed)
		synctest.Wait()
		o.wantState(t, statemachine.Sleeping)
		wantHistory(t, b, "paused/0 sleeping/1 ")
	})
}

func TestNewerCommandReplacesOneNotReceived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		late := func(_ context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
			<-proceed
			return <-commands
		}
		b := &fakeBroker{}
		o := start(t, b, late)
		for _, m := range []statemachine.Message{statemachine.Kill(), statemachine.Pause()} {
			b.send(t, m)
			synctest.Wait()
		}
		close(proceed)
		synctest.Wait()
		o.wantState(t, statemachine.Paused)
		wantHistory(t, b, "paused/2 ")
	})
}

func TestCommandReplacedWhileTheHandlerReturnsTakesNoEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		deaf := func(context.Context, metafora.Task, <-chan statemachine.Message) statemachine.Message {
			<-proceed
			return statemachine.Pause()
		}
		b := &fakeBroker{}
		b.loseReply = func(op string) error {
			if op == "store" && b.pendingCommand().ID == 1 {
				b.send(t, statemachine.Run()) // The operator changes their mind.
			}
			return nil
		}
		o := start(t, b, deaf)
		b.send(t, statemachine.Kill())
		synctest.Wait()
		proceed <- struct{}{}
		synctest.Wait()
		o.wantState(t, statemachine.Runnable)
		wantHistory(t, b, "paused/0 runnable/2 ")
		close(proceed)
	})
}

func TestCommandIsHandledOnceAcrossAHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{}
		first := start(t, b, obey)
		b.send(t, statemachine.Pause())
		synctest.Wait()
		first.Stop()
		first.wantDone(t, false)

		second := start(t, b, unreachable(t))
		synctest.Wait()
		second.wantState(t, statemachine.Paused)
		wantHistory(t, b, "paused/1 ")
	})
}

func TestCommandIsDeliveredAgainAfterACrashBeforeTheWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		received := make(chan struct{})
		slow := func(ctx context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
			m := <-commands
			close(received)
			<-ctx.Done()
			return m
		}
		b := &fakeBroker{}
		first := start(t, b, slow)
		b.send(t, statemachine.Pause())
		<-received
		first.cancel(metafora.ErrLeaseLost)
		first.wantDone(t, false)
		wantHistory(t, b, "")

		second := start(t, b, obey)
		synctest.Wait()
		second.wantState(t, statemachine.Paused)
		wantHistory(t, b, "paused/1 ")
	})
}

func TestCommandDeliveredTwiceReachesTheHandlerOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		received := make(chan statemachine.Message, 2)
		stay := func(_ context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
			for m := range commands {
				if m.Code == statemachine.CodeRelease {
					return m
				}
				received <- m
			}
			panic("commands are never closed")
		}
		b := &fakeBroker{}
		o := start(t, b, stay)
		b.send(t, statemachine.Checkpoint())
		synctest.Wait()
		b.redeliver()
		synctest.Wait()
		if n := len(received); n != 1 {
			t.Errorf("received %d times", n)
		}
		if b.pendingCommand().ID != 1 {
			t.Error("the command is gone though the handler has not answered")
		}
		o.Stop()
		o.wantDone(t, false)
		if c := b.pendingCommand(); c.ID != 0 {
			t.Errorf("%v is still pending after the answer", c)
		}
	})
}

func TestInvalidCommandDoesNotReachARunningHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{}
		o := start(t, b, obey)
		b.send(t, statemachine.Message{Code: "dance"})
		synctest.Wait()
		b.send(t, statemachine.Pause())
		synctest.Wait()
		o.wantState(t, statemachine.Paused)
		wantHistory(t, b, "paused/2 ")
	})
}

// A node that is behind the broker hears of the older command first. To handle
// it must leave the newer one, which is pending, alone.
func TestReplacedCommandThatIsHandledLateLeavesTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &fakeBroker{}
		o := start(t, b, obey)
		synctest.Wait()
		b.behind(func() {
			b.send(t, statemachine.Pause())
			b.send(t, statemachine.Kill())
		})
		b.listener.deliver(statemachine.Command{ID: 1, Message: statemachine.Pause()})
		synctest.Wait()
		o.wantState(t, statemachine.Paused)
		b.redeliver()
		o.wantDone(t, true)
		wantHistory(t, b, "paused/1 killed/2 ")
		if left := b.pendingCommand(); left.ID != 0 {
			t.Errorf("%v is left", left)
		}
	})
}
