package statemachine

import "testing"

// A straggler may read the handler's channel between the return of the handler
// and the moment at which the machine notices it.
func TestNothingIsOfferedToAHandlerThatReturned(t *testing.T) {
	c := newCall()
	if !c.offer(Command{ID: 1, Message: Pause()}) {
		t.Fatal("refused before the handler returned")
	}
	<-c.messages
	c.finish(Checkpoint())
	if c.offer(Command{ID: 2, Message: Kill()}) {
		t.Error("accepted after the handler returned")
	}
	select {
	case m := <-c.messages:
		t.Errorf("a straggler got %v", m)
	default:
	}
	if c.taken != 1 || c.offered.ID != 0 {
		t.Errorf("taken is %d and %v is left, want command 1 and none", c.taken, c.offered)
	}
}

func TestCommandInTheChannelWhenTheHandlerReturnsIsLeft(t *testing.T) {
	c := newCall()
	c.offer(Command{ID: 1, Message: Pause()})
	<-c.messages
	c.offer(Command{ID: 2, Message: Run()})
	c.offer(Command{ID: 3, Message: Kill()})
	c.finish(Checkpoint())
	if c.taken != 1 || c.offered.ID != 3 {
		t.Errorf("taken is %d and %v is left, want command 1 and command 3", c.taken, c.offered)
	}
}
