package simtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// action is one kind of thing that can happen next.
type action struct {
	name   string
	weight int
	fault  Fault // "" for what belongs to a healthy cluster
	// try makes it happen. It reports false if it is impossible now.
	try func(s *Sim) bool
}

// actions are what a step is drawn from. The first is the plainest: all that is
// under way arrives. Whatever has no place here cannot happen in a simulation.
func actions() []action {
	return []action{
		{"flow", 1, "", (*Sim).stepFlow},
		{"request", 20, "", (*Sim).stepRequest},
		{"news", 14, "", (*Sim).stepNews},
		{"time", 3, "", (*Sim).stepTime},
		{"client", 7, "", (*Sim).stepClient},
		{"handler", 4, "", (*Sim).stepHandler},
		{"tick", 3, "", (*Sim).stepTick},
		{"expiry", 2, "", (*Sim).stepExpiry},
		{"failed call", 3, FailedCalls, (*Sim).stepFail},
		{"lost reply", 4, LostReplies, (*Sim).stepLose},
		{"late reply", 3, SlowCalls, (*Sim).stepAnswerLater},
		{"slow request", 2, SlowCalls, (*Sim).stepSlow},
		{"slow node", 3, SlowCalls, (*Sim).stepSlowNode},
		{"delayed call", 3, LateCalls, (*Sim).stepDelay},
		{"late call", 3, LateCalls, (*Sim).stepArrive},
		{"broken watch", 2, BrokenWatches, (*Sim).stepBreakWatch},
		{"compaction", 2, Compactions, (*Sim).stepCompact},
		{"crash", 2, Crashes, (*Sim).stepCrash},
		{"restart", 2, "", (*Sim).stepRestart},
		{"partition", 2, Partitions, (*Sim).stepPartition},
		{"pause", 2, Pauses, (*Sim).stepPause},
		{"mend", 3, "", (*Sim).stepMend},
		{"stall", 2, Stalls, (*Sim).stepStall},
		{"revocation", 2, Revocations, (*Sim).stepRevoke},
		{"stuck handler", 2, StuckHandlers, (*Sim).stepStick},
		{"shutdown", 2, Shutdowns, (*Sim).stepShutdown},
	}
}

// deck has each action that may be drawn as often as its weight says.
func deck(without []Fault) []*action {
	var d []*action
	list := actions()
	for i := range list {
		if a := &list[i]; !slices.Contains(without, a.fault) {
			d = append(d, slices.Repeat([]*action{a}, a.weight)...)
		}
	}
	return d
}

// Explore takes steps that are drawn: what is under way arrives in any order, or
// late, or not at all, clients submit and delete and command, handlers are done,
// nodes crash and come back, time passes. All invariants are checked after each. Of
// what can happen, each schedule has a mixture of its own.
func (s *Sim) Explore() {
	if len(s.deck) == 0 {
		s.mix(s.drawSwarm())
	}
	if !s.started {
		// Where there are many, one makes up for what another forgets.
		if absent := s.source.pick(2*len(s.nodes), "absent nodes") - len(s.nodes); absent > 0 && s.cfg.evens {
			there := len(s.nodes) - absent
			s.nodes, s.absent = s.nodes[:there], s.nodes[there:]
		}
		s.Start()
		if s.source.pick(4, "join in any order") == 0 {
			s.Flow()
		}
	}
	for s.happened = 0; s.happened < s.cfg.Steps; {
		if !s.source.step(s.step) {
			return
		}
	}
	s.source.end()
}

// step makes one thing happen. Where what was drawn is impossible, something under
// way arrives instead.
func (s *Sim) step(action int) {
	before := s.happened
	s.timeline.step.Add(1)
	a := s.deck[action*len(s.deck)/actionNumbers]
	_ = a.try(s) || s.stepRequest() || s.stepNews() || s.stepClient() || s.stepTime()
	s.revive()
	s.happened = max(s.happened, before+1)
}

func (s *Sim) stepFlow() bool {
	s.log("", nil, "all that is under way arrives")
	s.flow(nil)
	return true
}

// draw picks one of a list, nil of an empty one.
func draw[E any](s *Sim, list []E, what string) (e E, ok bool) {
	if len(list) == 0 {
		return e, false
	}
	return list[s.source.pick(len(list), what)], true
}

func (s *Sim) stepRequest() bool {
	p, ok := draw(s, s.ready(), "request")
	if ok {
		s.let(p)
	}
	return ok
}

func (s *Sim) stepNews() bool {
	d, ok := draw(s, s.broker.deliveries(), "watch")
	if ok {
		s.deliver(d, 1+s.source.pick(3, "revisions"))
	}
	return ok
}

func (s *Sim) stepTime() bool {
	durations := []time.Duration{100 * time.Millisecond, time.Second, s.cfg.TTL / 3, s.cfg.TTL, 3 * s.cfg.TTL}
	d, _ := draw(s, durations, "time")
	s.log("", nil, d.String()+" pass")
	s.pass(d, nil)
	return true
}

func (s *Sim) stepStall() bool {
	durations := []time.Duration{100 * time.Millisecond, time.Second, s.cfg.TTL / 2, s.cfg.TTL + time.Second}
	d, _ := draw(s, durations, "time")
	s.Stall(d)
	return true
}

// stepTick lets time pass until somebody asks for something, which can then be
// answered before or after all else.
func (s *Sim) stepTick() bool {
	s.log("", nil, "time passes until something is asked")
	s.idle(s.cfg.TTL/2, true)
	return true
}

func (s *Sim) stepExpiry() bool {
	id, ok := draw(s, s.broker.overdue(), "lease")
	if ok {
		s.log("", nil, "lease expires: "+s.leaseName(id))
		s.broker.expire(id)
		s.settle()
	}
	return ok
}

// calls returns the requests to the broker that are under way. Those of a backend
// that settles lost replies by itself are among them if remote is set.
func (s *Sim) calls(remote bool) []*pending {
	var calls []*pending
	for _, p := range s.ready() {
		if p.kind == aRequest || remote && p.kind == aCall {
			calls = append(calls, p)
		}
	}
	return calls
}

func (s *Sim) stepFail() bool {
	p, ok := draw(s, s.calls(true), "request")
	if ok {
		s.fail(p)
	}
	return ok
}

func (s *Sim) stepLose() bool {
	p, ok := draw(s, s.calls(false), "request")
	if ok {
		s.lose(p)
	}
	return ok
}

func (s *Sim) stepDelay() bool {
	p, ok := draw(s, s.calls(false), "request")
	if ok {
		s.delay(p)
	}
	return ok
}

// stepArrive lets a request take effect whose caller has given up, maybe just after
// another one about the same.
func (s *Sim) stepArrive() bool {
	p, ok := draw(s, s.latecomers(), "request")
	if !ok {
		return false
	}
	if s.source.pick(2, "after") == 1 {
		about := slices.DeleteFunc(s.calls(false), func(q *pending) bool { return q.answered() || !p.concerns(q) })
		if q, ok := draw(s, about, "request"); ok {
			s.let(q)
		}
	}
	s.arrive(p)
	return true
}

// concerns reports whether two requests are about the same task or node.
func (p *pending) concerns(q *pending) bool {
	theirs := deedsOf(q.call)
	return slices.ContainsFunc(deedsOf(p.call), func(d deed) bool {
		return slices.ContainsFunc(theirs, func(e deed) bool { return d.id != "" && d.id == e.id })
	})
}

func (s *Sim) stepBreakWatch() bool {
	d, ok := draw(s, s.broker.streams(), "watch")
	if !ok {
		return false
	}
	if s.source.pick(2, "how") == 0 {
		s.act(d.node()+": watch of "+d.what()+" breaks", d.breakOff)
	} else {
		s.act(d.node()+": watch of "+d.what()+" is closed", d.close)
	}
	return true
}

func (s *Sim) stepCompact() bool {
	s.CompactBut(s.source.pick(8, "revisions to keep"))
	return true
}

// those returns the running processes of which something holds.
func (s *Sim) those(holds func(*incarnation) bool) []*incarnation {
	var list []*incarnation
	for _, n := range s.nodes {
		if n.inc != nil && !n.inc.left() && holds(n.inc) {
			list = append(list, n.inc)
		}
	}
	return list
}

func (s *Sim) stepCrash() bool {
	inc, ok := draw(s, s.those(func(*incarnation) bool { return true }), "node")
	if ok {
		s.Crash(inc.node.name)
		s.drawRestarts(inc.node)
	}
	return ok
}

// drawRestarts draws whether somebody sees to it that a node comes back.
func (s *Sim) drawRestarts(n *node) {
	if n.restarts = s.source.pick(2, "restarts") == 1; n.restarts {
		s.log("", nil, n.name+" is to be started again at once")
	}
}

// revive starts nodes again that are to be.
func (s *Sim) revive() {
	for _, n := range s.nodes {
		if n.restarts && n.inc.left() {
			s.checkEnd(n.inc)
			s.Restart(n.name)
		}
	}
}

// stepRestart starts a node again, or in its place or besides one of a new name.
func (s *Sim) stepRestart() bool {
	var down []*node
	for _, n := range s.nodes {
		if n.inc != nil && n.inc.left() {
			down = append(down, n)
		}
	}
	if len(s.absent) > 0 {
		down = append(down, s.absent[0])
	}
	n, ok := draw(s, down, "node")
	switch {
	case !ok:
		return false
	case n.inc == nil:
		s.nodes, s.absent = append(s.nodes, n), s.absent[1:]
		s.act(n.name+" joins", func() { s.start(n) })
	default:
		s.checkEnd(n.inc)
		s.Restart(n.name)
	}
	return true
}

func (s *Sim) stepPartition() bool {
	inc, ok := draw(s, s.those(func(i *incarnation) bool { return !i.cut }), "node")
	if ok {
		s.Partition(inc.node.name)
		s.drawOutage()
	}
	return ok
}

func (s *Sim) stepPause() bool {
	inc, ok := draw(s, s.those(func(i *incarnation) bool { return !i.paused }), "node")
	if ok {
		s.Pause(inc.node.name)
		s.drawOutage()
	}
	return ok
}

// drawOutage draws whether a node is away for longer than its lease lasts, while what
// is under way stays where it is.
func (s *Sim) drawOutage() {
	if s.source.pick(4, "outage") == 1 {
		s.Stall(s.cfg.TTL + time.Second)
	}
}

// stepMend ends a partition, a pause or what is slow.
func (s *Sim) stepMend() bool {
	inc, ok := draw(s, s.those(func(i *incarnation) bool { return i.cut || i.paused || len(i.node.slow) > 0 }), "node")
	switch {
	case !ok:
	case len(inc.node.slow) > 0:
		s.act("nothing is slow at "+inc.node.name, func() { s.speedUp(inc.node) })
	case inc.paused:
		s.Resume(inc.node.name)
	default:
		s.Heal(inc.node.name)
	}
	return ok
}

func (s *Sim) stepRevoke() bool {
	if s.source.pick(2, "what") == 0 {
		n, _ := draw(s, s.nodes, "node")
		return s.Revoke(n.name)
	}
	id, _ := draw(s, s.ids, "task")
	return s.DeleteOwner(id)
}

func (s *Sim) stepShutdown() bool {
	inc, ok := draw(s, s.those(func(i *incarnation) bool { return !i.paused }), "node")
	if ok {
		s.Shutdown(inc.node.name)
		s.drawRestarts(inc.node)
	}
	return ok
}

// stepStick has a handler stay until faults end, whoever asks it to leave.
func (s *Sim) stepStick() bool {
	free := slices.DeleteFunc(s.running(), func(r *run) bool { return r.stuck || r.inc.dead })
	r, ok := draw(s, free, "handler")
	if ok {
		s.log(r.inc.node.name, nil, "the handler of "+r.claim.TaskID+" is stuck")
		s.mu.Lock()
		r.stuck = true
		s.mu.Unlock()
	}
	return ok
}

// unstick lets the handlers go on that were stuck.
func (s *Sim) unstick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.runs {
		r.stuck = false
	}
}

// stepHandler has a drawn handler return.
func (s *Sim) stepHandler() bool {
	if s.cfg.Stateful {
		return s.stepAnswer()
	}
	var idle []*run
	for _, r := range s.running() {
		if len(r.verdict) == 0 && r.live() && s.handler == nil && s.stateful == nil {
			idle = append(idle, r)
		}
	}
	r, ok := draw(s, idle, "handler")
	if !ok {
		return false
	}
	done := s.source.pick(2, "done") == 0
	s.act(fmt.Sprintf("%s returns %t on %s", r.claim.TaskID, done, r.inc), func() { r.verdict <- done })
	return true
}

// maxClients is how many calls of clients are under way at most.
const maxClients = 4

// stepClient has a client ask for something. The call meets the same faults as
// those of nodes.
func (s *Sim) stepClient() bool {
	if s.clients >= maxClients {
		return false
	}
	kinds := 5
	if s.stateful != nil {
		kinds = 7
	}
	switch s.source.pick(kinds, "client") {
	case 3:
		s.drawDelete()
	case 4:
		s.drawCommand()
	case 5, 6:
		s.drawSend()
	default:
		s.drawSubmit()
	}
	return true
}

func (s *Sim) drawSubmit() {
	id, _ := draw(s, s.ids, "task")
	if s.ledger.task(id).submitting {
		return
	}
	r := s.ledger.task(id)
	r.submitting, r.submitted = true, 0
	t, end := s.newTask(id), s.history.begin(nil, submitTask, id, 0)
	s.ask("submit "+id, func(ctx context.Context, c Client) error { return c.SubmitTask(ctx, t) },
		func(err error) {
			end(err, 0)
			r.submitting = false
			if err == nil && r.submitted == 0 {
				s.violate(honestAnswers, "the submission of %s was acknowledged, but has not arrived", id)
			}
			if err == nil && r.submission == r.submitted {
				r.acked = r.submitted
			}
		})
}

func (s *Sim) drawDelete() {
	id, _ := draw(s, s.ids, "task")
	end := s.history.begin(nil, deleteTask, id, 0)
	s.ask("delete "+id, func(ctx context.Context, c Client) error { return c.DeleteTask(ctx, id) },
		func(err error) { end(err, 0) })
}

func (s *Sim) drawCommand() {
	n, _ := draw(s, s.nodes, "node")
	id, _ := draw(s, s.ids, "task")
	cmds := []metafora.Command{metafora.Balance(), metafora.StopTask(id), metafora.Freeze(), metafora.Unfreeze(), metafora.Drain()}
	cmd, _ := draw(s, cmds, "command")
	s.sent++
	params := map[string]any{commandNumber: s.sent}
	for k, v := range cmd.Parameters {
		params[k] = v
	}
	cmd.Parameters = params
	s.ask(cmd.Name+" for "+n.name, func(ctx context.Context, c Client) error { return c.SubmitCommand(ctx, n.name, cmd) }, nil)
}

func (s *Sim) drawSend() {
	busy := s.busy()
	id, _ := draw(s, slices.Concat(s.ids, busy, busy), "task")
	msgs := []statemachine.Message{
		statemachine.Pause(), statemachine.Run(), statemachine.Sleep(time.Now().Add(s.cfg.TTL)),
		statemachine.Release(), statemachine.Checkpoint(), statemachine.Kill(),
		statemachine.Error(errors.New("sent")), statemachine.Complete(),
	}
	m, _ := draw(s, msgs, "message")
	s.ask(fmt.Sprintf("%v for %s", m.Code, id), func(ctx context.Context, c Client) error { return c.Send(ctx, id, m) }, nil)
}

// busy returns the tasks of which requests are under way.
func (s *Sim) busy() []string {
	var busy []string
	for _, p := range s.calls(true) {
		for _, d := range p.deeds() {
			if slices.Contains(s.ids, d.id) && !slices.Contains(busy, d.id) {
				busy = append(busy, d.id)
			}
		}
	}
	return busy
}

// ask has a client call the broker, in the background.
func (s *Sim) ask(what string, call func(context.Context, Client) error, answered func(error)) {
	s.clients++
	s.act("client: "+what, func() {
		s.client(func() {
			err := call(s.ctx, s.broker.user())
			s.mu.Lock()
			s.answers = append(s.answers, func() {
				s.clients--
				if answered != nil {
					answered(err)
				}
			})
			s.mu.Unlock()
			text := "client: " + what + ": ok"
			if err != nil {
				text = "client: " + what + ": " + err.Error()
			}
			s.log(clientName, nil, text)
		})
	})
}

// client has a client do something: one that has nothing to do, or else a new one.
func (s *Sim) client(f func()) {
	select {
	case s.errands <- f:
		return
	default:
	}
	s.asks.Go(func() {
		for f := f; f != nil; f = <-s.errands {
			f()
		}
	})
}
