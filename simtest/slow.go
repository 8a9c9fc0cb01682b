package simtest

import "github.com/metafora-go/metafora/simtest/simetcd"

// What is slow arrives only when a step has drawn it, and not with all else: a
// request, its reply, or what one watch of a node has to tell. Settle ends that.

// stepSlow makes something slow.
func (s *Sim) stepSlow() bool {
	if s.source.pick(2, "what") == 0 {
		return s.slowWatch()
	}
	p, ok := draw(s, s.calls(true), "request")
	if ok {
		s.log(p.node(), p, "is slow")
		p.slow = true
	}
	return ok
}

// slowWatch has a drawn node hear of nodes, of commands or of tasks late.
func (s *Sim) slowWatch() bool {
	n, _ := draw(s, s.nodes, "node")
	what, _ := draw(s, []string{"tasks", "nodes", "commands"}, "of what")
	if n.slow[what] {
		return false
	}
	s.log("", nil, n.name+": watch of "+what+" is slow")
	if n.slow == nil {
		n.slow = make(map[string]bool)
	}
	n.slow[what] = true
	return true
}

// hurry ends what is slow.
func (s *Sim) hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.waiting {
		p.slow = false
	}
	for _, n := range s.nodes {
		clear(n.slow)
	}
}

func (p *pending) prompt() bool { return !p.slow }

func (s *Sim) onTime(d delivery) bool { return !s.node(d.node()).slow[d.what()] }

// stepAnswerLater lets a request take effect whose reply is slow.
func (s *Sim) stepAnswerLater() bool {
	var calls []*pending
	for _, p := range s.calls(false) {
		if !p.answered() && p.call.Kind() != simetcd.KindWatch {
			calls = append(calls, p)
		}
	}
	p, ok := draw(s, calls, "request")
	if ok {
		p.slow = true
		s.answerLater(p)
	}
	return ok
}
