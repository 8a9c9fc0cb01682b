package simtest

import (
	"context"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// run is a handler at work.
type run struct {
	inc     *incarnation
	claim   metafora.Claim
	task    metafora.Task
	ctx     context.Context
	cancel  context.CancelCauseFunc
	verdict chan bool // what a drawn handler is to return
	answer  chan statemachine.Message
	record  *record // of its task; the root goroutine alone uses it
	// Sim.mu guards these.
	stopped  bool // it was asked to stop
	returned bool
	working  bool  // its StatefulHandler is at work
	stuck    bool  // it does not leave before faults end
	lease    int64 // that of its claim once it is sure, see checkRuns
}

// live reports whether the handler could do something right now.
func (r *run) live() bool {
	r.inc.sim.mu.Lock()
	defer r.inc.sim.mu.Unlock()
	return r.liveLocked()
}

// stopping reports whether the handler was asked to stop.
func (r *run) stopping() bool {
	r.inc.sim.mu.Lock()
	defer r.inc.sim.mu.Unlock()
	return r.stopped
}

func (r *run) liveLocked() bool {
	return !r.returned && !r.inc.dead && !r.inc.paused && r.ctx.Err() == nil
}

// runKey tells runs apart.
type runKey struct {
	inc   *incarnation
	id    string
	fence uint64
}

func (r *run) key() runKey { return runKey{r.inc, r.claim.TaskID, r.claim.Fence} }

// runOf returns the handler that runs under a claim, nil if there is none.
func (s *Sim) runOf(inc *incarnation, id string, fence int64) *run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs[runKey{inc, id, uint64(fence)}]
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
		inc.making.Add(1)
		defer inc.making.Add(-1)
		return &probeHandler{inner: inner(t), inc: inc, task: t}
	}
}

type probeHandler struct {
	inner metafora.Handler
	inc   *incarnation
	task  metafora.Task

	// Sim.mu guards these: Stop may come first.
	run     *run
	stopped bool
}

func (h *probeHandler) Run(ctx context.Context) bool {
	s := h.inc.sim
	claim, _ := metafora.ClaimFromContext(ctx)
	r := &run{inc: h.inc, claim: claim, task: h.task, verdict: make(chan bool, 1), answer: make(chan statemachine.Message, 1)}
	ctx, r.cancel = context.WithCancelCause(context.WithValue(ctx, runContextKey{}, r))
	defer r.cancel(nil)
	r.ctx = ctx
	s.mu.Lock()
	h.run, r.stopped = r, h.stopped
	s.runs[r.key()] = r
	s.unsure[r] = struct{}{}
	s.mu.Unlock()
	s.log(h.inc.node.name, nil, "runs "+claim.TaskID)
	defer s.ran(r)
	return h.inner.Run(ctx)
}

func (s *Sim) ran(r *run) {
	s.mu.Lock()
	r.returned = true
	delete(s.runs, r.key())
	delete(s.unsure, r)
	delete(s.sure[r.lease], r)
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

type runContextKey struct{}

// What a drawn handler waits for before it returns.
const (
	opReturn = "return of"
	opAnswer = "answer of"
)

// drawnHandler works until it is told to stop, or what to return.
func (s *Sim) drawnHandler(ctx context.Context, t metafora.Task, stop <-chan struct{}) bool {
	r := ctx.Value(runContextKey{}).(*run)
	done := false
	select {
	case done = <-r.verdict:
	case <-stop:
	case <-ctx.Done():
	}
	// It takes its time to leave.
	_ = s.wait(context.Background(), &pending{kind: aStep, inc: r.inc, op: opReturn, id: t.ID(), run: r})
	return done
}

// Gate makes a handler stop at a point where a fault may hit: before it writes to
// an outside store, say. What follows happens when the scheduler lets it, however
// late; a paused process stays there until it goes on. The error is [ErrCrashed]
// if the node has crashed: the handler must return at once then, since the
// process in which it runs is gone. Gate does not look at ctx otherwise, just as
// a write under way does not.
func (s *Sim) Gate(ctx context.Context, what string) error {
	r, ok := ctx.Value(runContextKey{}).(*run)
	if !ok {
		return nil
	}
	return s.wait(context.Background(), newPending(aStep, r.inc, what, r.claim.TaskID))
}
