package simtest

import (
	"math"
	"slices"
	"time"
)

// Advance lets time pass while everything is delivered as soon as it can be.
func (s *Sim) Advance(d time.Duration) {
	s.needNodes()
	s.log("", nil, d.String()+" pass")
	s.pass(d, nil)
}

// Stall lets time pass while nothing is delivered to anybody, and no lease
// expires at the broker.
func (s *Sim) Stall(d time.Duration) {
	s.log("", nil, d.String()+" pass in which nothing is delivered")
	s.idle(d, false)
}

// idle lets time pass while nothing arrives, until something is asked if that is
// wanted.
func (s *Sim) idle(d time.Duration, untilAsked bool) {
	s.idling = true
	defer func() { s.idling = false }()
	select {
	case <-s.arrived:
	default:
	}
	var asked <-chan struct{}
	if untilAsked {
		asked = s.arrived
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
		timer := time.NewTimer(time.Until(s.nextLimit(end)))
		select {
		case <-asked:
			end = time.Now()
		case <-timer.C:
		}
		timer.Stop()
		s.settle()
	}
}

// nextLimit returns when the next handler's context has to have ended, unless its
// node's lease is renewed, or else end.
func (s *Sim) nextLimit(end time.Time) time.Time {
	now := time.Now()
	for _, lease := range s.ledger.nodes {
		ends, ok := s.broker.leaseEnd(lease)
		if limit := ends.Add(time.Millisecond - s.cfg.Margin); ok && limit.After(now) && limit.Before(end) {
			end = limit
		}
	}
	return end
}

// Flow delivers all that can be, until nothing is left. No time passes.
func (s *Sim) Flow() {
	s.started = true
	s.flow(nil)
}

// Until makes time pass, and everything flow, until something holds. The
// simulation fails when it does not within ten minutes.
func (s *Sim) Until(what string, holds func() bool) {
	s.needNodes()
	s.log("", nil, "until "+what)
	if !s.pass(10*time.Minute, holds) {
		s.violate(settles, "not within 10 minutes: %s", what)
	}
}

// maxFlow is how much may be delivered while no time passes: more is a spin. It is small
// where the cluster is, so that a spin does not take long to shrink.
func (s *Sim) maxFlow() int { return 1_000 + 20*len(s.nodes)*len(s.ledger.tasks) }

// checkQuiet looks at how much was delivered while time passed. A node that tries
// something again and again waits longer each time, up to a second; handlers of the
// user may well be busier.
func (s *Sim) checkQuiet(deliveries int, d time.Duration) {
	perSecond := len(s.nodes) * (5 + len(s.ledger.tasks))
	if s.handler == nil && s.stateful == nil && deliveries > s.maxFlow()+int(d.Seconds()*float64(perSecond)) {
		s.violate(quiet, "%d deliveries in %v", deliveries, d)
	}
}

// flow delivers everything in order until nothing is left or something holds.
func (s *Sim) flow(until func() bool) (held bool) {
	s.flowing = true
	defer func() { s.flowing = false }()
	most := s.maxFlow()
	for n := 0; ; n++ {
		if until != nil && until() {
			return true
		}
		if n > most {
			s.violate(quiet, "%d deliveries while no time passes", n)
		}
		// No other lease can be over before time passes.
		if n == 0 && s.broker.expireOverdue() {
			s.settle()
			continue
		}
		if s.cfg.Coarse {
			if !s.round() {
				return false
			}
			continue
		}
		if p := s.prompt(s.ready()); p != nil {
			s.promptly(p)
			continue
		}
		if d := s.promptNews(); d != nil {
			s.deliver(d, 1)
			continue
		}
		return false
	}
}

// round lets all arrive that is under way, and reports whether there was anything. All
// takes effect at the broker before anybody hears of it: from then on the nodes run
// beside each other, until all rest.
func (s *Sim) round() bool {
	ready := slices.Clone(s.ready())
	for _, p := range ready {
		s.apply(p)
	}
	news := s.broker.deliveries()
	s.mu.Lock()
	for _, p := range ready {
		s.unwait(p)
	}
	s.mu.Unlock()
	for _, p := range ready {
		p.verdict <- nil
	}
	for _, d := range news {
		d.deliver(math.MaxInt)
	}
	if len(ready)+len(news) == 0 {
		return false
	}
	s.settle()
	return true
}

func (s *Sim) deliver(d delivery, revisions int) {
	s.happened++
	s.log(d.node(), d.news(), "")
	d.deliver(revisions)
	s.settleAfter(s.node(d.node()).inc)
}

// pass lets time pass with everything flowing, and reports whether something
// holds before it is over.
func (s *Sim) pass(d time.Duration, until func() bool) bool {
	began, before := time.Now(), s.happened
	end := began.Add(d)
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		s.revive()
		if s.flow(until) {
			return true
		}
		s.checkQuiet(s.happened-before, time.Since(began))
		if !time.Now().Before(end) {
			return false
		}
		select {
		case <-s.arrived:
		case <-s.broker.due():
		case <-s.nextAnswer():
		case <-timer.C:
		}
		s.settle()
	}
}
