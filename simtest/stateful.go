package simtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// What a drawn answer means that is no message of its own.
const (
	goOn  statemachine.MessageCode = "go on"
	crash statemachine.MessageCode = "panic"
)

// drawnStateful works until a command comes, which it obeys, or until it is told
// what to answer. It takes its time to do so.
func (s *Sim) drawnStateful(ctx context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
	r := ctx.Value(runContextKey{}).(*run)
	s.called(r, true)
	defer s.called(r, false)
	for {
		var m statemachine.Message
		select {
		case m = <-r.answer:
		case m = <-commands:
		case <-ctx.Done():
			m = statemachine.Release()
		}
		leave := &pending{kind: aStep, inc: r.inc, op: opAnswer, id: r.claim.TaskID, run: r}
		if s.wait(context.Background(), leave) != nil {
			return statemachine.Release()
		}
		select {
		case m = <-r.answer: // in place of what a command asks for
		default:
		}
		switch m.Code {
		case goOn:
			if s.goesOn() {
				continue
			}
			return statemachine.Checkpoint()
		case crash:
			panic("drawn")
		}
		return m
	}
}

// called notes that a StatefulHandler begins or ends.
func (s *Sim) called(r *run, begins bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.working = begins
	if begins {
		s.handlerCalls = append(s.handlerCalls, r)
	}
}

// errHandler has a task try again, wait for an operator, and fail.
func (s *Sim) errHandler(_ metafora.Task, errs []statemachine.TaskError) (statemachine.Message, []statemachine.TaskError) {
	switch len(errs) {
	case 1:
		return statemachine.Sleep(time.Now().Add(s.cfg.TTL / 2)), errs
	case 2:
		return statemachine.Checkpoint(), errs
	default:
		return statemachine.Error(errors.New("given up")), errs
	}
}

// drawnAnswers are what a drawn handler may answer.
func (s *Sim) drawnAnswers() []statemachine.Message {
	return []statemachine.Message{
		statemachine.Complete(), statemachine.Checkpoint(), statemachine.Release(), statemachine.Run(),
		statemachine.Sleep(time.Now().Add(s.cfg.TTL)), statemachine.Pause(),
		statemachine.Error(errors.New("drawn")),
		{Code: crash},
		{Code: goOn},
		statemachine.Kill(),
	}
}

func (s *Sim) stepAnswer() bool {
	var working []*run
	for _, r := range s.running() {
		if r.live() && len(r.answer) == 0 && s.isWorking(r) {
			working = append(working, r)
		}
	}
	r, ok := draw(s, working, "handler")
	if !ok {
		return false
	}
	m, _ := draw(s, s.drawnAnswers(), "answer")
	s.act(fmt.Sprintf("%s answers %s on %s", r.claim.TaskID, m.Code, r.inc), func() { r.answer <- m })
	return true
}

func (s *Sim) goesOn() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.obedient
}

// obey has handlers answer that went on after a command: it is handled with that.
func (s *Sim) obey() {
	s.mu.Lock()
	s.obedient = true
	s.mu.Unlock()
	for _, r := range s.running() {
		if s.cfg.Stateful && len(r.answer) == 0 && s.isWorking(r) {
			s.act(r.claim.TaskID+" answers checkpoint on "+r.inc.String(), func() { r.answer <- statemachine.Checkpoint() })
		}
	}
}

func (s *Sim) isWorking(r *run) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return r.working
}

// asked is what a machine has asked to be stored, or to be removed as handled
// where it has no state.
type asked struct {
	number  int    // among those of its claim, from 1
	state   string // its JSON form
	handled int64
}

// storedAsk is what was stored last, by the claim and the number of what was asked.
type storedAsk struct {
	fence  int64
	number int
}

// delivered is a command that has reached the listener of a claim.
type delivered struct {
	inc   *incarnation
	claim metafora.Claim
	id    int64
}

// askToStore notes a call of Store, or of Handled with a nil state.
func (i *incarnation) askToStore(c metafora.Claim, st *statemachine.State, handled uint64) {
	a := asked{handled: int64(handled)}
	if st != nil {
		if value, err := statemachine.EncodeState(*st); err == nil {
			a.state = string(value)
		}
	}
	i.sim.mu.Lock()
	defer i.sim.mu.Unlock()
	key := claimKey{c.TaskID, int64(c.Fence)}
	if i.asks == nil {
		i.asks = make(map[claimKey][]asked)
	}
	a.number = len(i.asks[key]) + 1
	i.asks[key] = append(i.asks[key], a)
}

// findAsk returns the latest of what was asked for under a claim that fits.
func (i *incarnation) findAsk(id string, fence int64, fits func(asked) bool) (asked, bool) {
	i.sim.mu.Lock()
	defer i.sim.mu.Unlock()
	list := i.asks[claimKey{id, fence}]
	for n := len(list) - 1; n >= 0; n-- {
		if fits(list[n]) {
			return list[n], true
		}
	}
	return asked{}, false
}

// checkState holds a state that is stored against what it follows from.
func (s *Sim) checkState(c change, r *record, all []change) {
	value := string(c.now.value)
	a, ok := s.actor.inc.findAsk(c.id, r.fence, func(a asked) bool { return a.state == value })
	if !ok {
		s.violate(freshState, "%s stores a state of %s that it was not asked to store: %s", s.actor.inc, c.id, value)
	}
	next, err := statemachine.DecodeState(c.now.value)
	if err != nil {
		s.violate(freshState, "%s stores a state of %s that nobody can read: %v", s.actor.inc, c.id, err)
	}
	if value == r.stateValue {
		return // the same write once more, its first reply having been lost
	}
	if last := r.lastAsk; last.fence == r.fence && a.number < last.number {
		s.violate(freshState, "%s stores %v of %s, which it was asked for before %v", s.actor.inc, next, c.id, r.state)
	}
	r.lastAsk = storedAsk{r.fence, a.number}
	if r.state.Code.Terminal() {
		s.violate(endIsFinal, "%s stores %v over %v of %s", s.actor.inc, next, r.state, c.id)
	}
	if a.handled != 0 {
		if done, ok := r.effects[a.handled]; ok && done != value {
			s.violate(commandsOnce, "the command %d of %s takes effect again, as %s", a.handled, c.id, value)
		}
		if r.effects == nil {
			r.effects = make(map[int64]string)
		}
		r.effects[a.handled] = value
		if r.command == a.handled && !removes(all, c.id) {
			s.violate(oneWrite, "%s stores what follows from the command %d of %s, which stays", s.actor.inc, a.handled, c.id)
		}
		return
	}
	woken := next.Code == statemachine.Runnable && r.state.Code == statemachine.Sleeping
	if woken && time.Now().Before(r.state.Until) {
		s.violate(sleepsOn, "%s wakes %s at %v, which is to sleep until %v", s.actor.inc, c.id, time.Now(), r.state.Until)
	}
	if from := r.state.Code; !woken && from != "" && from != statemachine.Runnable {
		s.violate(sleepsOn, "%s stores %v over %v of %s without a command", s.actor.inc, next, r.state, c.id)
	}
}

func removes(all []change, id string) bool {
	for _, c := range all {
		if c.kind == atTaskCommand && c.id == id && c.now == nil {
			return true
		}
	}
	return false
}

// checkHandled looks at a command that a node removes.
func (s *Sim) checkHandled(c change, r *record, all []change) {
	stored := false
	for _, o := range all {
		if o.id == c.id && o.kind == atTask {
			return // the task is done
		}
		stored = stored || o.id == c.id && o.kind == atState
	}
	_, ok := s.actor.inc.findAsk(c.id, r.fence, func(a asked) bool { return a.handled == r.command && (a.state != "") == stored })
	if !ok {
		s.violate(commandsOnce, "%s removes the command %d of %s, which it has not handled", s.actor.inc, r.command, c.id)
	}
}

// checkStateful looks at what has reached machines and handlers in this step.
func (s *Sim) checkStateful() {
	if s.stateful == nil {
		return
	}
	s.mu.Lock()
	calls, commands := s.handlerCalls, s.delivered
	s.handlerCalls, s.delivered = nil, nil
	s.mu.Unlock()
	for _, d := range commands {
		r := s.ledger.task(d.claim.TaskID)
		if r.heard == nil {
			r.heard = make(map[uint64]int64)
		}
		if last := r.heard[d.claim.Fence]; d.id <= last {
			s.violate(commandsOnce, "%s gets the command %d of %s under claim %d after the command %d", d.inc, d.id, d.claim.TaskID, d.claim.Fence, last)
		}
		r.heard[d.claim.Fence] = d.id
		gone := r.removed[d.id]
		if gone != 0 && gone < int64(d.claim.Fence) {
			s.violate(commandsOnce, "%s gets the command %d of %s under claim %d, which was removed at %d",
				d.inc, d.id, d.claim.TaskID, d.claim.Fence, gone)
		}
	}
	for _, call := range calls {
		r := s.ledger.task(call.claim.TaskID)
		if r.fence != int64(call.claim.Fence) {
			continue
		}
		if code := r.state.Code; code.Terminal() {
			s.violate(endIsFinal, "%s calls the handler of %s, which is %s", call.inc, call.claim.TaskID, code)
		} else if code != "" && code != statemachine.Runnable {
			s.violate(sleepsOn, "%s calls the handler of %s, which is %s", call.inc, call.claim.TaskID, code)
		}
	}
}
