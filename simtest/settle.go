package simtest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// Settle ends all faults and holds the cluster to its promises: within a bounded
// time drained nodes are empty, and each task runs or is done, with the default Balancer
// as long as there is a node that takes tasks. The same holds when all nodes are there
// again and unfrozen; then what the nodes know is what the broker holds, and they share
// the tasks. In the end all shut down, and have to leave nothing behind.
func (s *Sim) Settle() {
	s.needNodes()
	s.log("", nil, "faults end")
	for _, n := range s.nodes {
		n.restarts = false
		clear(n.slow)
		if n.inc.left() {
			continue
		}
		if n.inc.paused {
			s.act(n.name+" goes on", func() { s.resume(n.inc) })
		}
		if n.inc.cut {
			s.act(n.name+" is connected again", func() { s.heal(n.inc) })
		}
	}
	s.clearLate()
	s.hurry(func(*pending) bool { return true })
	s.unstick()
	s.obey()
	s.flow(nil) // a drain command may be on its way
	s.pass(s.cfg.DrainTimeout+s.cfg.TTL, func() bool { return s.undrained() == nil && !s.someLeave() })
	if v := s.undrained(); v != nil {
		panic(v)
	}
	if s.cfg.evens { // another balancer may wait for a certain node
		s.settleTasks()
	}
	s.complete()
	s.unfreeze()
	s.settleTasks()
	s.settleBalance()
	s.settleIndex()
	s.settleCommands()
	s.leave()
	s.checkHistory()
}

// settleIndex waits until each node knows what the broker holds: calls that have failed
// are repeated after a while. From then on it has to know.
func (s *Sim) settleIndex() {
	wrong := func() string { return cmp.Or(s.misjudged(), s.mistaken()) }
	s.pass(time.Minute, func() bool { return wrong() == "" })
	s.flow(nil)
	if text := wrong(); text != "" {
		s.violate(indexIsTrue, "%s", text)
	}
}

// settleBalance waits until the nodes share the tasks. A node that let tasks pass is
// doubted for a minute, and for four times as long each time that it does so again.
// That has to end without new tasks.
func (s *Sim) settleBalance() {
	limit := time.Hour + 4*time.Since(s.timeline.began)
	if !s.pass(limit, func() bool { return s.unbalanced() == "" && s.unsettled() == "" }) {
		s.violate(balanced, "%s", cmp.Or(s.unbalanced(), s.unsettled()))
	}
}

func (s *Sim) clearLate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = nil
}

// complete starts all nodes that are down, and has them join.
func (s *Sim) complete() {
	down := func(n *node) bool { return n.inc.left() }
	for range 2 { // one that was joining when faults ended may have failed
		for _, n := range s.nodes {
			if down(n) {
				s.checkEnd(n.inc)
				s.start(n)
				s.settle()
			}
		}
		// This is as long as a process waits for its name, and more.
		s.pass(5*s.cfg.TTL, func() bool { return s.missing() == "" || slices.ContainsFunc(s.nodes, down) })
	}
	if n := s.missing(); n != "" {
		s.violate(settles, "%s is not registered", n)
	}
}

// misjudged tells of a node that is wrong about who takes tasks, "" if none is.
func (s *Sim) misjudged() string {
	for _, n := range s.nodes {
		for _, m := range n.inc.coord.Nodes() {
			if takes := !s.node(m.Name).inc.consumer.Frozen(); m.Accepting != takes {
				return fmt.Sprintf("%s takes %s for a node that takes tasks: %t, but it is %t", n.name, m.Name, m.Accepting, takes)
			}
		}
	}
	return ""
}

// missing names a node that has not joined the cluster, or has given its lease up and has
// no new one, "" for none.
func (s *Sim) missing() string {
	for _, n := range s.nodes {
		lease, ok := s.ledger.nodes[n.name]
		if !ok || s.leases[lease] != n.inc || n.inc.left() || !n.inc.coord.LeaseDeadline().After(time.Now()) {
			return n.name
		}
	}
	return ""
}

// unfreeze makes all nodes take tasks.
func (s *Sim) unfreeze() {
	s.settleCommands() // one to freeze or to drain may be on its way
	for _, n := range s.nodes {
		if n.inc.consumer.Frozen() {
			s.Command(n.name, metafora.Unfreeze())
		}
	}
	s.settleCommands()
	for _, n := range s.nodes {
		if n.inc.consumer.Frozen() || n.inc.consumer.Draining() {
			s.violate(frozenIdle, "%s was unfrozen, and does not take tasks: %v", n.name, n.inc.consumer)
		}
	}
}

// settleCommands waits until the nodes have got all commands, and have had the time
// to obey new ones. A node that has failed to take them waits before it tries again.
func (s *Sim) settleCommands() {
	s.pass(s.cfg.TTL, func() bool { return s.unread() == nil })
	if v := s.unread(); v != nil {
		panic(v)
	}
	if s.obeyed != s.sent {
		s.obeyed = s.sent
		s.pass(time.Second, nil)
	}
}

// settleTasks waits until each task runs or is done, as long as there is a node that
// takes tasks.
func (s *Sim) settleTasks() {
	settled := func() bool { return s.unsettled() == "" || !s.someTakeTasks() }
	if !s.pass(5*s.cfg.TTL+2*s.cfg.BalanceInterval, settled) {
		s.violate(settles, "%s", s.unsettled())
	}
}

func (s *Sim) someTakeTasks() bool {
	return slices.ContainsFunc(s.nodes, func(n *node) bool { return !n.inc.left() && !n.inc.consumer.Frozen() })
}

// unsettled names a task that has no live handler under its current claim, ""
// if each has one.
func (s *Sim) unsettled() string {
	for _, id := range slices.Sorted(maps.Keys(s.ledger.tasks)) {
		r := s.ledger.tasks[id]
		switch {
		case r.submission == 0:
		case r.fence == 0:
			return id + " has no owner"
		case s.cfg.Stateful && r.command != 0:
			return id + " has a command that is not handled"
		case s.cfg.Stateful && r.state.Code.Terminal():
			return fmt.Sprintf("%s is %v, and not gone", id, r.state)
		case s.cfg.Stateful && r.state.Code == statemachine.Sleeping && r.state.Until.Before(time.Now()):
			return fmt.Sprintf("%s is %v, which is over", id, r.state)
		default:
			switch run := s.runOf(s.leases[r.lease], id, r.fence); {
			case run == nil || !run.live():
				return fmt.Sprintf("%s is owned by %s and runs on %v", id, r.owner, s.Runs(id))
			case run.stopping():
				return fmt.Sprintf("%s is about to leave %s", id, r.owner)
			}
		}
	}
	return ""
}

// undrained tells of a node that drains and still owns a task, nil for none.
func (s *Sim) undrained() *violation {
	for _, n := range s.nodes {
		if n.inc.left() || !n.inc.consumer.Draining() {
			continue
		}
		for _, id := range slices.Sorted(maps.Keys(s.ledger.tasks)) {
			if r := s.ledger.tasks[id]; r.fence != 0 && s.leases[r.lease] == n.inc {
				return &violation{drainedEmpty, fmt.Sprintf("%s still owns %s", n.inc, id)}
			}
		}
	}
	return nil
}

// someLeave reports whether a process is on its way out, or one that is gone is
// still registered.
func (s *Sim) someLeave() bool {
	return slices.ContainsFunc(s.nodes, func(n *node) bool {
		lease, registered := s.ledger.nodes[n.name]
		if n.inc.left() {
			return registered
		}
		return n.inc.leaving || registered && s.leases[lease] != n.inc
	})
}

// checkEnd looks at how a process has ended by itself.
func (s *Sim) checkEnd(inc *incarnation) {
	if inc.dead {
		return // what is left of it may still run
	}
	var left error // not an error that made it leave
	if inc.closeErr != nil && !s.leaving {
		left = inc.closeErr // the broker could not be told
	}
	// It may have failed to join, found its name taken when its lease had
	// ended, or stood still, or been stalled, while its handlers should leave.
	expected := !inc.joined.Load() || inc.err == nil || left != nil && errors.Is(inc.err, left) ||
		errors.Is(inc.err, metafora.ErrNodeExists) || errors.Is(inc.err, metafora.ErrHandlerStuck) && !s.leaving
	if !expected {
		s.violate(leavesCleanly, "%s ended: %v", inc, inc.err)
	}
}

// leave shuts all nodes down, which must give all back.
func (s *Sim) leave() {
	s.leaving = true
	for _, n := range s.nodes {
		if !n.inc.left() {
			s.act(n.name+" is asked to leave", n.inc.stop)
		}
	}
	gone := func() bool {
		return !slices.ContainsFunc(s.nodes, func(n *node) bool { return !n.inc.left() })
	}
	if !s.pass(s.cfg.DrainTimeout+s.cfg.TTL, gone) {
		s.violate(leavesCleanly, "not all nodes have left after the drain timeout")
	}
	for _, n := range s.nodes {
		s.checkEnd(n.inc)
		if _, ok := s.ledger.nodes[n.name]; ok {
			s.violate(leavesCleanly, "%s has left, but is registered", n.name)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(s.ledger.tasks)) {
		if r := s.ledger.tasks[id]; r.fence != 0 {
			s.violate(leavesCleanly, "%s is still owned by %s, which has left", id, r.owner)
		}
	}
}
