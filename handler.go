package metafora

import (
	"context"
	"sync"
)

// Handler runs one task under one claim.
type Handler interface {
	// Run does the work. It returns true when the task is done and must never
	// run again, false to hand it over: the task is released and any node,
	// this one too, may claim it. A panic is reported and counts as done.
	//
	// ctx carries the claim ([ClaimFromContext]) and ends when the claim is
	// lost or the drain timeout passed; context.Cause tells which
	// ([ErrLeaseLost], [ErrNotOwner], [ErrStopped]). Run must then leave at once.
	Run(ctx context.Context) (done bool)

	// Stop asks Run to return soon and does not wait for it. It may be called
	// before Run, during it, just after it, and more than once; calls are
	// serialised. When the claim is lost it is called as well, unless it was before;
	// ctx has ended by then.
	Stop()
}

// HandlerFunc makes the Handler for a task that was claimed. It must not block:
// it takes the place of a claim in flight. A panic or a nil Handler is reported
// and counts as done, as a panic in Run does.
type HandlerFunc func(Task) Handler

// SimpleHandler makes a HandlerFunc of a function that runs a task until it
// returns, until stop is closed, or until ctx ends: see [Handler] for the
// meaning of the result and of ctx.
func SimpleHandler(f func(ctx context.Context, t Task, stop <-chan struct{}) bool) HandlerFunc {
	return func(t Task) Handler {
		return &simpleHandler{task: t, f: f, stop: make(chan struct{})}
	}
}

type simpleHandler struct {
	task Task
	f    func(context.Context, Task, <-chan struct{}) bool
	once sync.Once
	stop chan struct{}
}

func (h *simpleHandler) Run(ctx context.Context) bool { return h.f(ctx, h.task, h.stop) }
func (h *simpleHandler) Stop()                        { h.once.Do(func() { close(h.stop) }) }
