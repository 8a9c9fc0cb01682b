package statemachine

import "testing"

// A straggler may read the handler's channel between the return of the handler
// and the moment at which the machine goes on.
func TestNothingIsShownToAHandlerThatReturned(t *testing.T) {
	b := newMailbox()
	commands, _ := b.connect()
	deliver(t, &b, Command{ID: 1, Message: Pause()})
	<-commands
	if handled := b.disconnect(); handled != 1 {
		t.Errorf("handled is %d", handled)
	}
	b.connect()
	if handled := b.disconnect(); handled != 0 {
		t.Errorf("command %d is handled by the next call too", handled)
	}
	deliver(t, &b, Command{ID: 2, Message: Kill()})
	b.leave()
	select {
	case m := <-commands:
		t.Errorf("a straggler got %v", m)
	default:
	}
	if cmd, _ := b.take(); cmd.ID != 2 {
		t.Errorf("%v is left, want command 2", cmd)
	}
}

func TestCommandNotTakenWhenTheHandlerReturnsIsLeft(t *testing.T) {
	b := newMailbox()
	commands, _ := b.connect()
	deliver(t, &b, Command{ID: 1, Message: Pause()})
	<-commands
	deliver(t, &b, Command{ID: 2, Message: Run()})
	deliver(t, &b, Command{ID: 3, Message: Kill()})
	deliver(t, &b, Command{ID: 2, Message: Run()}) // Late, and obsolete.
	if handled := b.disconnect(); handled != 1 {
		t.Errorf("handled is %d", handled)
	}
	if cmd, _ := b.take(); cmd.ID != 3 {
		t.Errorf("%v is left, want command 3", cmd)
	}
}

func TestCommandThatIsNotShownMakesOlderOnesObsolete(t *testing.T) {
	b := newMailbox()
	b.connect()
	deliver(t, &b, Command{ID: 1, Message: Kill()})
	if err := b.deliver(Command{ID: 2, Message: Message{Code: "dance"}}); err == nil {
		t.Error("an invalid command is shown to the handler")
	}
	if handled := b.disconnect(); handled != 2 {
		t.Errorf("handled is %d", handled)
	}
	if cmd, ok := b.take(); ok {
		t.Errorf("%v is left", cmd)
	}
}

func TestReleaseStaysInPlaceOnceTheTaskIsLeaving(t *testing.T) {
	b := newMailbox()
	commands, _ := b.connect()
	deliver(t, &b, Command{ID: 1, Message: Kill()})
	b.leave()
	deliver(t, &b, Command{ID: 2, Message: Pause()})
	if m := <-commands; m != Release() {
		t.Errorf("got %v", m)
	}
	if handled := b.disconnect(); handled != 0 {
		t.Errorf("command %d counts as handled", handled)
	}
	commands, _ = b.connect()
	if m := <-commands; m != Release() {
		t.Errorf("the next call got %v", m)
	}
}

func deliver(t *testing.T, b *mailbox, cmd Command) {
	t.Helper()
	if err := b.deliver(cmd); err != nil {
		t.Fatal(err)
	}
}
