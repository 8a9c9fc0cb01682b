package simtest

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/simtest/simetcd"
)

// ErrCrashed is what the calls of a node return after it has crashed. Nobody who
// matters sees it: the process that gets it is gone.
var ErrCrashed = errors.New("simtest: node has crashed")

// pending is something that a node or a client is about to do and that waits
// until the scheduler lets it happen.
type pending struct {
	kind    pendingKind
	inc     *incarnation  // who does it; nil for a client
	call    *simetcd.Call // if it is a request, or else
	op      Op            // what it is, and
	id      string        // of which task
	verdict chan error    // holds one
	seq     int           // in the order of arrival
	waits   bool          // it is among those that wait, namely
	at      int           // there
	// run is the handler that is about to leave.
	run *run
	// slow is set for what arrives only when a step has drawn it, answerAt for a
	// reply that takes its time.
	slow     bool
	answerAt time.Time
	// lateSince is the step in which the caller gave up.
	lateSince int64
}

// pendingKind is what kind of thing it is.
type pendingKind int

const (
	aRequest  pendingKind = iota // to etcd
	aCall                        // of a broker that has no requests of its own
	aStep                        // within a process, whether or not the broker can be reached
	anOrder                      // likewise; requests follow, which are what can be held
	anArrival                    // news that has come as far as a node
)

func newRequest(inc *incarnation, c *simetcd.Call) *pending {
	return &pending{kind: aRequest, inc: inc, call: c}
}

func newPending(kind pendingKind, inc *incarnation, verb, id string) *pending {
	return &pending{kind: kind, inc: inc, op: Op(verb), id: id}
}

// deeds lists what it does to tasks and nodes.
func (p *pending) deeds() []deed {
	if p.kind == aRequest {
		return deedsOf(p.call)
	}
	return []deed{{verb: string(p.op), id: p.id}}
}

// asks reports whether it is a request of some kind.
func (p *pending) asks(k simetcd.Kind) bool { return p.kind == aRequest && p.call.Kind() == k }

func (p *pending) String() string {
	if p.kind == aRequest {
		return describeCall(p.call)
	}
	return strings.TrimSpace(string(p.op) + " " + p.id)
}

// possible reports whether the network and the node let p happen now. News is
// delivered, and a remote call finds out by itself that the broker is out of reach.
func (p *pending) possible() bool {
	switch {
	case p.kind == anArrival:
		return false
	case p.inc == nil:
		return true
	}
	return !p.inc.paused && (p.kind != aRequest || !p.inc.cut)
}

// wait stops the caller until the scheduler has decided about p.
func (s *Sim) wait(ctx context.Context, p *pending) error {
	p.verdict = make(chan error, 1)
	if err := s.enqueue(p); err != nil {
		return err
	}
	select {
	case err := <-p.verdict:
		return err
	case <-ctx.Done():
		return s.giveUp(p, ctx.Err())
	}
}

// waits reports whether something of a process waits that is of interest.
func (s *Sim) waits(inc *incarnation, which func(*pending) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.waiting {
		if p.inc == inc && which(p) {
			return true
		}
	}
	return false
}

func (s *Sim) enqueue(p *pending) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.inc != nil && p.inc.dead {
		if p.kind == aRequest {
			return simetcd.ErrClosing
		}
		return ErrCrashed
	}
	s.arrivals++
	p.seq = s.arrivals
	p.waits, p.at = true, len(s.waiting)
	s.waiting = append(s.waiting, p)
	select {
	case s.arrived <- struct{}{}:
	default:
	}
	return nil
}

// unwait takes p off those that wait. s.mu is held.
func (s *Sim) unwait(p *pending) {
	if !p.waits {
		return
	}
	last := len(s.waiting) - 1
	s.waiting[p.at], s.waiting[last].at = s.waiting[last], p.at
	s.waiting[last] = nil
	s.waiting = s.waiting[:last]
	p.waits = false
}

// giveUp is called when nobody wants to wait for p any more. A request is on its
// way all the same, and may arrive. The caller goes on when the scheduler says so:
// the timers of one instant fire in any order.
func (s *Sim) giveUp(p *pending, err error) error {
	s.mu.Lock()
	if p.waits {
		s.unwait(p)
		s.givenUp = append(s.givenUp, p)
	}
	s.mu.Unlock()
	if verdict := <-p.verdict; verdict != errGivenUp {
		return verdict
	}
	return err
}

var errGivenUp = errors.New("simtest: the caller has given up")

// dismiss lets those go on who have given up, one after the other. It reports
// whether there were any.
func (s *Sim) dismiss() bool {
	s.mu.Lock()
	gone := s.givenUp
	s.givenUp = nil
	for _, p := range gone {
		s.keepLate(p)
	}
	s.mu.Unlock()
	slices.SortFunc(gone, comparePending)
	for _, p := range gone {
		p.verdict <- errGivenUp
		synctest.Wait()
	}
	return len(gone) > 0
}

// maxLate bounds how many requests are under way without a caller.
const maxLate = 8

func (s *Sim) keepLate(p *pending) {
	if p.kind == aRequest && !p.call.Applied() && changesSomething(p.call) {
		p.lateSince = s.timeline.step.Load()
		s.late = append(s.late, p)
	}
}

// latecomers returns the requests whose callers have given up, the oldest first.
func (s *Sim) latecomers() []*pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortFunc(s.late, func(a, b *pending) int {
		return cmp.Or(cmp.Compare(a.lateSince, b.lateSince), comparePending(a, b))
	})
	if over := len(s.late) - maxLate; over > 0 {
		s.late = slices.Delete(s.late, 0, over)
	}
	return s.late
}

// ready returns what can happen now, in an order that does not depend on which
// goroutine came first.
func (s *Sim) ready() []*pending {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.readyBuf[:0]
	for _, p := range s.waiting {
		if p.possible() && (p.run == nil || !p.run.stuck) && !slices.Contains(s.held, p) {
			list = append(list, p)
		}
	}
	if len(list) > 1 {
		slices.SortFunc(list, comparePending)
	}
	if s.hold != nil {
		list = slices.DeleteFunc(list, s.hold)
	}
	s.readyBuf = list
	return list
}

// comparePending orders what waits, whatever order the goroutines came in: by
// node, what happens within a process first, then by content.
func comparePending(a, b *pending) int {
	if a.inc == nil || a.inc != b.inc {
		if c := strings.Compare(a.node(), b.node()); c != 0 {
			return c
		}
	}
	if a.kind != aRequest || b.kind != aRequest {
		return cmp.Or(compareBools(a.kind == aRequest, b.kind == aRequest), strings.Compare(string(a.op), string(b.op)),
			strings.Compare(a.id, b.id), cmp.Compare(a.seq, b.seq))
	}
	if c := strings.Compare(string(a.call.Kind()), string(b.call.Kind())); c != 0 {
		return c
	}
	return cmp.Or(strings.Compare(a.call.Key(), b.call.Key()), cmp.Compare(a.seq, b.seq))
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// answer lets the caller of p go on.
func (s *Sim) answer(p *pending, err error) {
	s.reply(p, err)
	s.settleAfter(p.inc)
}

// reply tells the caller of p what has become of it.
func (s *Sim) reply(p *pending, err error) {
	s.mu.Lock()
	s.unwait(p)
	s.mu.Unlock()
	p.verdict <- err
}

// apply lets a request take effect at the broker, on behalf of who sent it.
func (s *Sim) apply(p *pending) {
	if p.kind != aRequest {
		return
	}
	s.actor = actor{kind: byCall, inc: p.inc}
	if p.asks(simetcd.KindKeepAlive) {
		s.actor.kind = byExpiry // a lease that is overdue ends when it is renewed
	}
	p.call.Apply()
	s.granted(p)
	s.observe()
	s.actor = actor{}
}

// let lets p happen.
func (s *Sim) let(p *pending) {
	s.happened++
	if !s.flowing || !p.routine() {
		s.log(p.node(), p, "")
	}
	s.apply(p)
	if p.kind == aCall {
		s.actor = actor{kind: byCall, inc: p.inc}
	}
	s.answer(p, nil)
	s.actor = actor{}
}

// fail makes a request fail before it had any effect.
func (s *Sim) fail(p *pending) {
	if p.answered() {
		s.lose(p)
		return
	}
	s.log(p.node(), p, "fails")
	s.answer(p, p.failure())
}

// answerLater lets a request take effect, whose caller has yet to get the reply:
// news of it, and of what follows, may come first.
func (s *Sim) answerLater(p *pending) {
	s.log(p.node(), p, "reply on its way")
	s.apply(p)
	s.settle()
}

// answered reports whether the reply to a request is on its way.
func (p *pending) answered() bool { return p.kind == aRequest && p.call.Applied() }

// failure is what a request that fails returns.
func (p *pending) failure() error {
	if p.kind == aCall {
		return memory.ErrUnreachable
	}
	return simetcd.ErrUnavailable
}

// lose lets a request take effect and loses the reply.
func (s *Sim) lose(p *pending) {
	s.needRequest(p)
	s.log(p.node(), p, "reply lost")
	s.apply(p)
	s.answer(p, simetcd.ErrUnavailable)
}

// needRequest refuses what only a request to etcd can meet. Package memory settles
// by itself what became of a call.
func (s *Sim) needRequest(p *pending) {
	if p.kind != aRequest {
		s.Fatalf("%s: the reply to something that is no request to etcd cannot be lost", p)
	}
}

// delay makes a request fail for its caller, while it is still on its way.
func (s *Sim) delay(p *pending) {
	s.needRequest(p)
	s.mu.Lock()
	s.keepLate(p)
	s.mu.Unlock()
	s.log(p.node(), p, "caller gives up, still on its way")
	s.answer(p, simetcd.ErrUnavailable)
}

// arrive lets a request take effect whose caller has given up.
func (s *Sim) arrive(p *pending) {
	s.mu.Lock()
	s.late = slices.DeleteFunc(s.late, func(q *pending) bool { return q == p })
	s.mu.Unlock()
	s.log(p.node(), p, "arrives late")
	s.apply(p)
	s.settle()
}

// routine reports whether p is what nodes do all the time, and is not worth a line
// when nothing is wrong with it.
func (p *pending) routine() bool {
	if p.kind != aRequest {
		return p.kind == anOrder
	}
	switch p.call.Kind() {
	case simetcd.KindKeepAlive, simetcd.KindGet, simetcd.KindWatch, simetcd.KindGrant:
		return true
	}
	return false
}

func (p *pending) node() string {
	switch {
	case p.inc != nil:
		return p.inc.node.name
	case p.kind == aRequest:
		return p.call.Node()
	}
	return clientName
}
