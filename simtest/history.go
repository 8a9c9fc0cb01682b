package simtest

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"

	"github.com/metafora-go/metafora"
)

// history is what nodes and clients asked of tasks and what they were told, for
// porcupine to find an order in which it makes sense. Sim.mu guards it.
type history struct {
	sim *Sim
	ops []operation
}

type operationKind string

const (
	submitTask  operationKind = "submit"
	deleteTask  operationKind = "delete"
	claimTask   operationKind = "claim"
	releaseTask operationKind = "release"
	finishTask  operationKind = "done"
	endClaim    operationKind = "claim ends"
)

type operation struct {
	kind      operationKind
	id        string
	fence     uint64 // of the claim that is made or ended
	client    int
	call, ret int64
	err       error
	open      bool // not answered yet
}

// begin notes that something was asked for. The function returned notes the
// answer.
func (h *history) begin(inc *incarnation, kind operationKind, id string, fence uint64) (end func(err error, fence uint64)) {
	s := h.sim
	if s.cfg.Coarse {
		return func(error, uint64) {}
	}
	client := -1
	if inc != nil {
		client = strings.Index(alphabet, inc.node.name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i := len(h.ops)
	h.ops = append(h.ops, operation{kind: kind, id: id, fence: fence, client: client + 1, call: s.timeline.step.Load(), open: true})
	return func(err error, fence uint64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		op := &h.ops[i]
		op.err, op.ret, op.open = err, s.timeline.step.Load(), false
		if fence != 0 {
			op.fence = fence
		}
	}
}

const alphabet = "abcdefghijklmnopqrstuvwxyz"

// happened notes what the broker itself has done.
func (h *history) happened(kind operationKind, id string, fence uint64) {
	if h.sim.cfg.Coarse {
		return
	}
	h.sim.mu.Lock()
	defer h.sim.mu.Unlock()
	now := h.sim.timeline.step.Load()
	h.ops = append(h.ops, operation{kind: kind, id: id, fence: fence, call: now, ret: now})
}

// lockState is a task as the model has it: a lock that can be taken only while
// the task exists.
type lockState struct {
	exists bool
	fence  uint64 // of the current claim, 0 without one
	last   uint64 // the largest fence so far
	before uint64 // the largest fence before the present submission
}

// after returns the state after an operation, and whether its answer is possible.
func (st lockState) after(o *operation) (lockState, bool) {
	certain := !o.open && o.err == nil
	switch o.kind {
	case submitTask:
		if st.exists {
			return st, !certain
		}
		st.exists, st.before = true, st.last
	case deleteTask:
		// Where the reply to a first attempt was lost, a task that is gone by
		// the second counts as deleted, whoever has deleted it.
		st.exists, st.fence = false, 0
	case claimTask:
		if !st.exists || st.fence != 0 || certain && o.fence <= st.last {
			return st, !certain
		}
		if certain {
			st.fence, st.last = o.fence, o.fence
		}
	case finishTask:
		switch {
		case st.exists && st.fence == o.fence:
			st.exists, st.fence = false, 0
		case st.exists && o.fence > st.before:
			return st, !certain
		}
		// Else the submission is over: where the reply to a first attempt was
		// lost, nobody can tell who took it away.
	case releaseTask, endClaim:
		// A release says that the claim has ended, whoever ended it.
		if st.fence == o.fence {
			st.fence = 0
		}
	}
	return st, true
}

// refused reports whether an operation has failed for good. A refusal may come
// from what a node knew some time ago, so that it says nothing about the task.
func (o *operation) refused() bool {
	if errors.Is(o.err, metafora.ErrUncertain) {
		return false
	}
	for _, no := range []error{metafora.ErrClaimed, metafora.ErrNoTask, metafora.ErrNotOwner, metafora.ErrTaskExists} {
		if errors.Is(o.err, no) {
			return true
		}
	}
	return false
}

// uncertainty is an operation of which nobody knows whether it took effect. Those
// that end the same claim are as good as one; a claim that nobody got changes
// nothing in the model.
type uncertainty struct {
	kind  operationKind
	id    string
	fence uint64
}

// maxOpen is how many uncertain operations on a task porcupine is asked about: each
// may have taken effect at any time since, and it has to try them all.
const maxOpen = 16

// checkHistory asks porcupine whether what was answered can be put into an order.
func (s *Sim) checkHistory() {
	s.mu.Lock()
	byTask := make(map[string][]porcupine.Operation)
	known := make(map[uncertainty]bool)
	open := make(map[string]int)
	for i := range s.history.ops {
		op := &s.history.ops[i]
		if op.refused() {
			continue
		}
		ret := op.ret
		if op.open || op.err != nil {
			u := uncertainty{op.kind, op.id, op.fence}
			if op.kind == claimTask || op.fence != 0 && known[u] {
				continue
			}
			known[u] = true
			open[op.id]++
			ret = math.MaxInt64 // it may take effect whenever it wants
		}
		byTask[op.id] = append(byTask[op.id], porcupine.Operation{
			ClientId: op.client, Input: op, Call: op.call, Output: nil, Return: ret,
		})
	}
	s.mu.Unlock()
	model := porcupine.Model{
		Init: func() any { return lockState{} },
		Step: func(state, input, _ any) (bool, any) {
			before := state.(lockState)
			next, ok := before.after(input.(*operation))
			if next == before {
				return ok, state
			}
			return ok, next
		},
	}
	for _, id := range slices.Sorted(maps.Keys(byTask)) {
		if open[id] > maxOpen {
			continue
		}
		if !porcupine.CheckOperations(model, byTask[id]) {
			var list []string
			for _, op := range byTask[id] {
				list = append(list, op.Input.(*operation).String())
			}
			s.violate(linearizable, "no order explains what was answered about %s:\n%s", id, strings.Join(list, "\n"))
		}
	}
}

func (o *operation) String() string {
	return fmt.Sprintf("%s %s #%d [%d, %d] %v", o.kind, o.id, o.fence, o.call, o.ret, o.err)
}
