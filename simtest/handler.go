package simtest

import (
	"context"
	"slices"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// run is a handler at work.
type run struct {
	inc     *incarnation
	claim   metafora.Claim
	ctx     context.Context
	cancel  context.CancelCauseFunc
	verdict chan bool // what a drawn handler is to return
	// Sim.mu guards these.
	stopped  bool // it was asked to stop
	returned bool
}

// live reports whether the handler could do something right now.
func (r *run) live() bool {
	r.inc.sim.mu.Lock()
	defer r.inc.sim.mu.Unlock()
	return !r.returned && !r.inc.dead && !r.inc.paused && r.ctx.Err() == nil
}

// runOf returns the handler that ran under a claim, nil if there was none.
func (s *Sim) runOf(inc *incarnation, id string, fence int64) *run {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.runs {
		if r.inc == inc && r.claim.TaskID == id && int64(r.claim.Fence) == fence {
			return r
		}
	}
	return nil
}

// handlerOf returns the handlers of an incarnation, each with a probe around it.
func (s *Sim) handlerOf(inc *incarnation, p *probe) metafora.HandlerFunc {
	inner := s.handler
	switch {
	case s.stateful != nil:
		inner = statemachine.HandlerFunc(s.stateful, p.StateStore(), p.CommandListener(), s.machine...)
	case inner == nil:
		inner = metafora.SimpleHandler(s.drawnHandler)
	}
	return func(t metafora.Task) metafora.Handler {
		return &probeHandler{inner: inner(t), inc: inc}
	}
}

type probeHandler struct {
	inner metafora.Handler
	inc   *incarnation

	// Sim.mu guards these: Stop may come first.
	run     *run
	stopped bool
}

func (h *probeHandler) Run(ctx context.Context) bool {
	s := h.inc.sim
	claim, _ := metafora.ClaimFromContext(ctx)
	r := &run{inc: h.inc, claim: claim, verdict: make(chan bool, 1)}
	ctx, r.cancel = context.WithCancelCause(context.WithValue(ctx, runKey{}, r))
	defer r.cancel(nil)
	r.ctx = ctx
	s.mu.Lock()
	s.runs = append(s.runs, r)
	h.run, r.stopped = r, h.stopped
	s.mu.Unlock()
	s.log(h.inc.node.name, nil, "runs "+claim.TaskID)
	defer s.ran(r)
	return h.inner.Run(ctx)
}

func (s *Sim) ran(r *run) {
	s.mu.Lock()
	r.returned = true
	s.runs = slices.DeleteFunc(s.runs, func(q *run) bool { return q == r })
	s.mu.Unlock()
}

func (h *probeHandler) Stop() {
	s := h.inc.sim
	s.mu.Lock()
	h.stopped = true
	if h.run != nil {
		h.run.stopped = true
	}
	s.mu.Unlock()
	h.inner.Stop()
}

type runKey struct{}

// drawnHandler works until it is told to stop, or what to return.
func (s *Sim) drawnHandler(ctx context.Context, t metafora.Task, stop <-chan struct{}) bool {
	r := ctx.Value(runKey{}).(*run)
	done := false
	select {
	case done = <-r.verdict:
	case <-stop:
	case <-ctx.Done():
	}
	// It takes its time to leave.
	_ = s.wait(context.Background(), nil, newLocal(r.inc, "return of", t.ID()))
	return done
}

// Gate makes a handler stop at a point where a fault may hit: before it writes to
// an outside store, say. What follows happens when the scheduler lets it, however
// late; a paused process stays there until it goes on. The error is [ErrCrashed]
// if the node has crashed: the handler must return at once then, since the
// process in which it runs is gone. Gate does not look at ctx otherwise, just as
// a write under way does not.
func (s *Sim) Gate(ctx context.Context, what string) error {
	r, ok := ctx.Value(runKey{}).(*run)
	if !ok {
		return nil
	}
	return s.wait(context.Background(), nil, newLocal(r.inc, what, r.claim.TaskID))
}
