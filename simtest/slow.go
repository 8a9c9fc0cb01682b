package simtest

import (
	"slices"
	"time"

	"github.com/metafora-go/metafora/simtest/simetcd"
)

// What is slow arrives only when a step has drawn it, and not with all else. Settle
// ends that.

// What can be slow at a node for a while: one of its watches, the renewals of its
// lease, which then get no answer, or the replies to all that it asks for.
const (
	slowTasks    = "tasks"
	slowNodes    = "nodes"
	slowCommands = "commands"
	slowRenewals = "renewals"
	slowReplies  = "replies"
)

// stepSlow makes a request slow.
func (s *Sim) stepSlow() bool {
	p, ok := draw(s, s.calls(true), "request")
	if ok {
		s.log(p.node(), p, "is slow")
		p.slow = true
	}
	return ok
}

// stepAnswerLater lets a request take effect whose reply is slow.
func (s *Sim) stepAnswerLater() bool {
	calls := slices.DeleteFunc(s.calls(false), func(p *pending) bool { return !p.canBeAnswered() })
	p, ok := draw(s, calls, "request")
	if ok {
		p.slow = true
		s.answerLater(p)
	}
	return ok
}

// canBeAnswered reports whether a request can take effect before its caller is told.
func (p *pending) canBeAnswered() bool {
	return p.kind == aRequest && !p.asks(simetcd.KindWatch) && !p.answered()
}

// stepSlowNode makes something slow that a node does.
func (s *Sim) stepSlowNode() bool {
	n, _ := draw(s, s.nodes, "node")
	what, _ := draw(s, []string{slowTasks, slowRenewals, slowReplies, slowNodes, slowCommands}, "what")
	if n.slow[what] {
		return false
	}
	s.log("", nil, n.name+": "+what+" are slow")
	if n.slow == nil {
		n.slow = make(map[string]bool)
	}
	n.slow[what] = true
	return true
}

// speedUp ends what is slow at a node.
func (s *Sim) speedUp(n *node) {
	clear(n.slow)
	s.hurry(func(p *pending) bool { return p.node() == n.name })
}

// hurry ends that requests and replies are slow.
func (s *Sim) hurry(which func(*pending) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.waiting {
		if which(p) {
			p.slow, p.answerAt = false, time.Time{}
		}
	}
}

// prompt finds what arrives next of what is not slow, nil for nothing.
func (s *Sim) prompt(ready []*pending) *pending {
	for _, p := range ready {
		if p.slow || p.answerAt.After(time.Now()) || p.inc != nil && p.inc.node.slow[slowRenewals] && p.asks(simetcd.KindKeepAlive) {
			continue
		}
		return p
	}
	return nil
}

// promptly lets something happen now or, where replies are slow, begin.
func (s *Sim) promptly(p *pending) {
	if p.inc != nil && p.inc.node.slow[slowReplies] && p.canBeAnswered() {
		p.answerAt = time.Now().Add(s.cfg.Margin)
		s.answerLater(p)
		return
	}
	s.let(p)
}

// nextAnswer fires when the next slow reply arrives.
func (s *Sim) nextAnswer() <-chan time.Time {
	var next time.Time
	if slices.ContainsFunc(s.nodes, func(n *node) bool { return n.slow[slowReplies] }) {
		for _, p := range s.ready() {
			if at := p.answerAt; at.After(time.Now()) && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	}
	if next.IsZero() {
		return nil
	}
	return time.After(time.Until(next))
}

// promptNews finds what news arrives next, nil for none.
func (s *Sim) promptNews() delivery {
	for _, d := range s.broker.deliveries() {
		if !s.node(d.node()).slow[d.what()] {
			return d
		}
	}
	return nil
}
