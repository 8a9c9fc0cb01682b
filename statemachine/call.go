package statemachine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/metafora-go/metafora"
)

// call is one call of a StatefulHandler, and settles which commands it took.
// The handler's channel belongs to this call alone: whoever still reads it
// after the handler returned finds nothing there, ever.
type call struct {
	messages chan Message  // what the handler reads; holds one
	returned chan struct{} // closed once the handler returned and the rest is final

	mu      sync.Mutex // guards what follows
	over    bool
	offered Command // in messages, or taken
	taken   uint64  // ID of the newest command that the handler took
	answer  Message
}

func newCall() *call {
	return &call{messages: make(chan Message, 1), returned: make(chan struct{})}
}

// run calls the handler. It ends when that has returned, panicked or ended its
// goroutine.
func (c *call) run(ctx context.Context, h StatefulHandler, task metafora.Task) {
	answer, ok := Message{}, false
	defer func() {
		if !ok {
			answer = Error(crash(recover()))
		}
		c.finish(answer)
	}()
	answer = h(ctx, task, c.messages)
	ok = true
}

// offer leaves a command for the handler, in the place of one that it has not
// taken yet. It reports false when the handler has returned.
func (c *call) offer(cmd Command) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return false
	}
	c.withdraw()
	c.offered = cmd
	c.messages <- cmd.Message // Never blocks: nobody else sends, and the place is free.
	return true
}

// recall takes back a command that the handler has not taken, since a newer one
// has replaced it that is not for the handler.
func (c *call) recall() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.withdraw()
	c.offered = Command{}
}

// finish ends the call. A command that was not taken remains in c.offered.
func (c *call) finish(answer Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.withdraw()
	c.over = true
	c.answer = answer
	close(c.returned)
}

// withdraw empties messages. If the handler was faster, c.offered is cleared.
func (c *call) withdraw() {
	select {
	case <-c.messages:
	default:
		c.taken = max(c.taken, c.offered.ID)
		c.offered = Command{}
	}
}

// crash turns what recover returned in a deferred call into an error.
func crash(recovered any) error {
	if recovered == nil {
		return errors.New("handler ended its goroutine instead of returning")
	}
	return fmt.Errorf("panic: %v\n\n%s", recovered, debug.Stack())
}
