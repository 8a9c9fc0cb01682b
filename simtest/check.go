package simtest

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/metafora-go/metafora"
)

// checkChanges holds the changes of one revision against the invariants, before
// the ledger takes them in.
func (s *Sim) checkChanges(changes []change) {
	for _, c := range changes {
		switch c.kind {
		case elsewhere:
			continue
		case atNode:
			s.checkRegistered(c)
			continue
		case atNodeCommand:
			s.noteTaken(c)
			continue
		}
		r := s.ledger.task(c.id)
		switch {
		case c.kind == atTask && c.now != nil:
			s.checkSubmitted(c, r, changes)
		case c.kind == atTask:
			s.checkTaskGone(c, r)
		case c.kind == atOwner && c.now != nil:
			s.checkClaimed(c, r)
		case c.kind == atOwner:
			s.checkDisowned(c, r, changes)
		case c.kind == atState && c.now != nil:
			s.checkStored(c, r)
			s.checkState(c, r, changes)
		case c.kind == atTaskCommand && c.now == nil && s.actor.inc != nil:
			if !s.holds(s.actor.inc, r) {
				s.violate(handsOff, "%s removes the command of %s, which %s owns", s.actor.inc, c.id, r.holder())
			}
			s.checkHandled(c, r, changes)
		}
	}
}

func (r *record) holder() string {
	if r.fence == 0 {
		return "nobody"
	}
	return r.owner
}

// holds reports whether the current claim of a task is an incarnation's.
func (s *Sim) holds(inc *incarnation, r *record) bool {
	return r.fence != 0 && s.leases[r.lease] == inc
}

// checkRegistered looks at a node's key that was written or removed.
func (s *Sim) checkRegistered(c change) {
	lease, live := s.ledger.nodes[c.id]
	owner := s.leases[lease]
	if !live || owner == nil {
		return
	}
	if s.actor.inc != nil && owner != s.actor.inc {
		s.violate(oneName, "%s changes the registration of %s, whose lease lasts", s.actor.inc, owner)
	}
	_, lasts := s.broker.leaseEnd(lease)
	if lasts && c.now == nil && s.actor.inc == nil && !owner.left() && !owner.leaving {
		s.violate(oneName, "the registration of %s ends, while its lease lasts", owner)
	}
}

// noteTaken notes which node has taken a command, and so has to get it.
func (s *Sim) noteTaken(c change) {
	if c.now != nil || c.was == nil || s.actor.inc == nil {
		return
	}
	if cmd, err := metafora.DecodeCommand(c.was); err == nil {
		if n, ok := cmd.Parameters[commandNumber].(float64); ok {
			s.ledger.taken = append(s.ledger.taken, takenCommand{s.actor.inc, int(n)})
		}
	}
}

// unread tells of a command that a node has not got, or has taken from the broker
// and not got, nil for none.
func (s *Sim) unread() *violation {
	for _, n := range s.nodes {
		if !n.inc.left() && s.ledger.letters[n.name] > 0 {
			return &violation{commandsOnce, fmt.Sprintf("%s does not get a command that is at the broker", n.inc)}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.ledger.taken {
		if !t.inc.left() && s.commands[t.number] == 0 {
			return &violation{commandsOnce, fmt.Sprintf("%s has removed the command number %d, and does not handle it", t.inc, t.number)}
		}
	}
	return nil
}

func (s *Sim) checkSubmitted(c change, r *record, all []change) {
	cleared := slices.ContainsFunc(all, func(o change) bool { return o.kind == atState && o.id == c.id && o.now == nil })
	switch {
	case s.actor.inc != nil:
		s.violate(doneIsFinal, "%s brings the task %s back", s.actor.inc, c.id)
	case r.submission != 0:
		s.violate(noLoss, "a submission of %s replaces one that was there", c.id)
	case s.ledger.submissions[c.now.nonce]:
		s.violate(doneIsFinal, "a submission of %s takes effect for the second time", c.id)
	case r.stateValue != "" && !cleared:
		s.violate(freshState, "a submission of %s finds the state of an earlier one: %v", c.id, r.state)
	}
	if c.now.nonce != "" {
		s.ledger.submissions[c.now.nonce] = true
	}
	r.submitted = c.now.since
}

func (s *Sim) checkTaskGone(c change, r *record) {
	inc := s.actor.inc
	if inc == nil {
		r.acked = 0
		r.excuse(r.fence)
		return
	}
	if !s.holds(inc, r) || !inc.asked(inc.done, c.id, r.fence) {
		s.violate(noLoss, "%s removes the task %s, whose owner is %s, without being done with it", inc, c.id, r.holder())
	}
	if s.stateful != nil && !r.state.Code.Terminal() {
		s.violate(freshState, "%s is done with %s, whose stored state is %q", inc, c.id, r.state)
	}
	r.acked = 0
}

func (s *Sim) checkClaimed(c change, r *record) {
	inc := s.actor.inc
	switch {
	case r.fence != 0:
		s.violate(oneOwner, "%s takes %s, which %s owns", c.now.owner, c.id, r.holder())
	case r.submission == 0:
		s.violate(doneIsFinal, "%s claims %s, which does not exist", c.now.owner, c.id)
	case c.now.since <= r.lastFence:
		s.violate(fencesGrow, "claim %d of %s follows claim %d", c.now.since, c.id, r.lastFence)
	case inc == nil || s.leases[c.now.lease] != inc:
		s.violate(handsOff, "%s claims %s on the lease %d, which is not its own", c.now.owner, c.id, c.now.lease)
	}
}

func (s *Sim) checkDisowned(c change, r *record, all []change) {
	switch s.actor.kind {
	case byOperator:
		r.excuse(r.fence)
		s.history.happened(endClaim, c.id, uint64(r.fence))
		return
	case byExpiry:
		s.history.happened(endClaim, c.id, uint64(r.fence))
		return
	}
	inc := s.actor.inc
	if inc == nil {
		// A client may only take the owner away along with the task.
		gone := slices.ContainsFunc(all, func(o change) bool { return o.kind == atTask && o.id == c.id && o.now == nil })
		if !gone {
			s.violate(handsOff, "a client ends the claim of %s on %s", r.holder(), c.id)
		}
		r.excuse(r.fence)
		return
	}
	if !s.holds(inc, r) {
		s.violate(handsOff, "%s ends the claim of %s on %s", inc, r.holder(), c.id)
	}
	if run := s.runOf(inc, c.id, r.fence); run != nil && !run.returned {
		s.violate(handsOff, "%s ends its claim %d on %s while its handler runs", inc, r.fence, c.id)
	}
}

func (s *Sim) checkStored(c change, r *record) {
	inc := s.actor.inc
	if inc == nil || !s.holds(inc, r) || !inc.asked(inc.stored, c.id, r.fence) {
		s.violate(freshState, "%s stores a state of %s, which %s owns by claim %d", s.actorName(), c.id, r.holder(), r.fence)
	}
}

func (s *Sim) actorName() string {
	if s.actor.inc != nil {
		return s.actor.inc.String()
	}
	return "a client"
}

// check holds the cluster against the invariants, at rest. With acted, nothing has
// changed but what that process knows.
func (s *Sim) check(acted *incarnation) {
	s.mu.Lock()
	blamed := s.blamed
	s.mu.Unlock()
	if blamed != nil {
		panic(blamed)
	}
	s.checkRuns()
	s.checkStateful()
	if !s.flowing && !s.cfg.Coarse {
		s.checkViews(acted)
		s.checkUnused()
	}
	for _, inv := range s.invariants {
		if err := inv.check(); err != nil {
			s.violate(inv.name, "%v", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.nodes {
		if inc := n.inc; inc != nil && (acted == nil || inc == acted) {
			inc.frozen = inc.consumer.Frozen() && !inc.thawing
			inc.thawing = false
		}
	}
}

// checkRuns looks at the handlers that could do something right now. There are far more
// handlers than leases: those that are right are so until their task changes, or there
// is something about the lease.
func (s *Sim) checkRuns() {
	now := time.Now()
	s.mu.Lock()
	live := s.sortOut()
	for lease, runs := range s.sure {
		if inc := s.leases[lease]; len(runs) > 0 && s.suspect(inc, lease, now) {
			live = slices.AppendSeq(live, maps.Keys(runs))
		}
	}
	live = slices.DeleteFunc(live, func(r *run) bool { return !r.liveLocked() })
	s.mu.Unlock()
	slices.SortFunc(live, compareRuns)
	for _, r := range live {
		if v := s.runProblem(r, now); v != nil {
			panic(v)
		}
	}
}

// sortOut finds the handlers that are right, and returns the others. The caller holds
// s.mu.
func (s *Sim) sortOut() (others []*run) {
	for r := range s.unsure {
		if r.record == nil {
			r.record = s.ledger.task(r.claim.TaskID)
		}
		lease := r.record.lease
		if r.record.fence != int64(r.claim.Fence) || s.leases[lease] != r.inc || !r.rightTask() {
			others = append(others, r)
			continue
		}
		delete(s.unsure, r)
		if s.sure[lease] == nil {
			s.sure[lease] = make(map[*run]struct{})
		}
		s.sure[lease][r] = struct{}{}
		r.lease = lease
	}
	return others
}

// doubt has the handler looked at again that runs a task under its current claim, which
// are about to change.
func (s *Sim) doubt(id string, r *record) {
	if r.fence == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if run := s.runs[runKey{s.leases[r.lease], id, uint64(r.fence)}]; run != nil {
		delete(s.sure[r.lease], run)
		s.unsure[run] = struct{}{}
	}
}

// suspect reports whether a process may be wrong to run handlers under claims that live
// on a lease.
func (s *Sim) suspect(inc *incarnation, lease int64, now time.Time) bool {
	end, ok := s.broker.leaseEnd(lease)
	return inc.consumer.Draining() || now.After(inc.coord.LeaseDeadline()) || ok && now.After(end.Add(-s.cfg.Margin))
}

// rightTask reports whether a handler has the task as it was submitted last.
func (r *run) rightTask() bool {
	t, ok := r.task.(numbered)
	return !ok || t.number == r.record.number
}

// runProblem tells what is wrong with a live handler, nil for nothing.
func (s *Sim) runProblem(r *run, now time.Time) *violation {
	if r.inc.consumer.Draining() && !r.stopped {
		return &violation{drainedEmpty, fmt.Sprintf("%s drains, and has not asked the handler of %s to stop", r.inc, r.claim.TaskID)}
	}
	if until := r.inc.coord.LeaseDeadline(); now.After(until) {
		return &violation{inTime, fmt.Sprintf("%s runs %s, and knows that its lease is over since %v", r.inc, r.claim.TaskID, until)}
	}
	rec, fence := r.record, int64(r.claim.Fence)
	if rec.fence != fence {
		if rec.excused[fence] {
			return nil
		}
		return &violation{inTime, fmt.Sprintf("%s runs %s under claim %d, which has ended; the owner is %s by claim %d",
			r.inc, r.claim.TaskID, fence, rec.holder(), rec.fence)}
	}
	if !r.rightTask() {
		return &violation{rightTask, fmt.Sprintf("%s runs submission %d of %s, but it owns submission %d",
			r.inc, r.task.(numbered).number, r.claim.TaskID, rec.number)}
	}
	if end, ok := s.broker.leaseEnd(rec.lease); ok && now.After(end.Add(-s.cfg.Margin)) {
		return &violation{inTime, fmt.Sprintf("%s runs %s although its lease ends in %v, which is less than the margin of %v",
			r.inc, r.claim.TaskID, end.Sub(now), s.cfg.Margin)}
	}
	return nil
}

// checkLoss looks at a task that has changed.
func (s *Sim) checkLoss(id string, r *record) {
	if r.acked != 0 && r.submission != r.acked {
		s.violate(noLoss, "%s was submitted as %d and is neither done nor deleted, but the broker has %d", id, r.acked, r.submission)
	}
}

// unbalanced tells which node has too many tasks, "" if none has.
func (s *Sim) unbalanced() string {
	if !s.cfg.evens {
		return ""
	}
	counts, total := s.ledger.owned, 0
	for _, n := range counts {
		total += n
	}
	// Rendezvous claims up to 1.2 times a node's share, and releases what is more
	// than that by as much again.
	limit := max(2, int(math.Ceil(1.2*1.2*float64(total)/float64(len(s.nodes)))))
	for _, n := range s.nodes {
		if got := counts[n.name]; got > limit {
			return fmt.Sprintf("%s has %d of %d tasks, where each of %d nodes may have %d", n.name, got, total, len(s.nodes), limit)
		}
	}
	return ""
}
