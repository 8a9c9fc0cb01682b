package simtest

import (
	"context"
	"fmt"
	"slices"
	"testing"
)

// Script runs one fixed schedule: f says what happens, and nothing is drawn. What
// f does not hold back arrives in order whenever time passes. All invariants are
// checked after each step, as in [Run]; one that does not hold fails t with the
// timeline.
func Script(t *testing.T, cfg Config, f func(*Sim)) {
	t.Helper()
	full, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if v, s := once(t, full, scripted{}, f); v != nil {
		if err := s.writePage(t.Name(), v); err != nil {
			t.Error(err)
		}
		t.Fatalf("%s\n%sOnce more: %s", v, s.report(), replayCommand(t.Name()))
	}
}

// Held is a request, or a step of a handler, that [Sim.Hold] has stopped. It stays
// until one of its methods decides about it, or its caller gives up.
type Held struct {
	sim *Sim
	p   *pending
}

// Op names what a node does.
type Op string

// The operations that can be held. A claim, release, done, store or handled is
// held where its transaction is sent to the broker.
const (
	OpClaim   Op = "claim"
	OpRelease Op = "release"
	OpDone    Op = "done"
	OpStore   Op = "store"
	OpHandled Op = "handled"
	OpRenew   Op = "renew"
	OpGrant   Op = "grant"
	OpJoin    Op = "register"
	OpList    Op = "list"
	OpWatch   Op = "watch"
	OpSubmit  Op = "submit"
	OpDelete  Op = "delete"
	OpTake    Op = "take command"
	OpSend    Op = "send"
	OpReturn  Op = "return of" // a handler is about to return: one of a Sim without Handle
)

// Hold lets everything flow, and time pass, until a node is about to do something
// about a task, and stops it there. Node and id may be empty: then any will do. For
// a handler's [Sim.Gate], op is what the gate is called.
func (s *Sim) Hold(node string, op Op, id string) *Held {
	var found *pending
	s.hold = func(p *pending) bool {
		if found == nil && p.matches(node, op, id) {
			found = p
		}
		return p == found
	}
	s.needNodes()
	text := string(op)
	if id != "" {
		text += " " + id
	}
	s.Until(node+" is about to "+text, func() bool { s.ready(); return found != nil })
	s.held = append(s.held, found)
	s.hold = nil
	return &Held{s, found}
}

// matches reports whether p is a given operation of a node on a task.
func (p *pending) matches(node string, op Op, id string) bool {
	if node != "" && p.node() != node {
		return false
	}
	return p.kind != anOrder && slices.ContainsFunc(p.deeds(), func(d deed) bool {
		return d.verb == string(op) && (id == "" || d.id == id)
	})
}

func (h *Held) decide(f func(*pending)) {
	h.sim.release(h.p)
	if h.Waits() {
		f(h.p)
	}
}

// Waits reports whether the caller still waits.
func (h *Held) Waits() bool {
	h.sim.mu.Lock()
	defer h.sim.mu.Unlock()
	return h.p.waits
}

// Pass lets it happen.
func (h *Held) Pass() { h.decide(h.sim.let) }

// Fail makes a request fail before it has any effect.
func (h *Held) Fail() { h.decide(h.sim.fail) }

// LoseReply lets a request take effect, and its caller see an error.
func (h *Held) LoseReply() { h.decide(h.sim.lose) }

// Answer lets a request take effect, while its caller has yet to get the reply: with
// Pass, or never.
func (h *Held) Answer() {
	if h.Waits() {
		h.sim.answerLater(h.p)
	}
}

// GiveUp makes a request fail for its caller while it is still on its way: it
// takes effect with Arrive, or never.
func (h *Held) GiveUp() { h.decide(h.sim.delay) }

// Arrive lets a request take effect whose caller has given up.
func (h *Held) Arrive() {
	h.sim.release(h.p)
	if slices.Contains(h.sim.latecomers(), h.p) {
		h.sim.arrive(h.p)
	}
}

// release forgets that p was held.
func (s *Sim) release(p *pending) {
	s.held = slices.DeleteFunc(s.held, func(q *pending) bool { return q == p })
}

// Return has the handler of a task, one of a Sim without [Sim.Handle], return soon.
func (s *Sim) Return(id string, done bool) {
	for _, r := range s.running() {
		if r.claim.TaskID == id && r.live() && len(r.verdict) == 0 {
			s.act(fmt.Sprintf("%s returns %t on %s", id, done, r.inc), func() { r.verdict <- done })
			return
		}
	}
	s.Fatalf("no handler of %s is there to return", id)
}

// Deafen keeps all news from a node until Hear: its watches are silent, while its
// requests pass.
func (s *Sim) Deafen(node string) { s.node(node).deaf = true }

// Hear undoes Deafen.
func (s *Sim) Hear(node string) { s.node(node).deaf = false }

// Do has a client call the broker in the background; its requests can be held as
// those of the node "client". It returns a function that tells how the call
// ended, and false while it has not.
func (s *Sim) Do(what string, call func(context.Context, Client) error) (result func() (error, bool)) {
	var answer error
	answered := false
	s.ask(what, func(ctx context.Context, c Client) error { return call(ctx, c) }, func(err error) { answer, answered = err, true })
	return func() (error, bool) { return answer, answered }
}
