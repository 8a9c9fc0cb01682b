package simtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// Sim is one run of a simulated cluster. Its methods are called by the function
// given to [Run] or [Script], from the goroutine that it was called on; [Sim.Gate]
// is for handlers.
type Sim struct {
	cfg    Config
	source source
	broker broker
	nodes  []*node
	ids    []string // of the tasks that Explore draws from

	handler    metafora.HandlerFunc
	stateful   statemachine.StatefulHandler
	machine    []statemachine.Option
	invariants []invariant
	started    bool

	// The root goroutine alone uses these.
	ledger   *ledger
	leases   map[int64]*incarnation
	actor    actor
	readyBuf []*pending
	clients  int                 // calls of clients under way
	sent     int                 // commands sent to nodes
	steps    int                 // taken by Explore
	rounds   int                 // see round
	hold     func(*pending) bool // keeps what it holds for from happening
	held     []*pending
	deck     []action
	flowing  bool           // everything is delivered in order
	leaving  bool           // all nodes shut down
	asks     sync.WaitGroup // calls of clients

	ctx     context.Context // of the calls of clients
	end     context.CancelFunc
	arrived chan struct{} // holds one: something waits

	mu       sync.Mutex // guards all below
	waiting  map[*pending]struct{}
	arrivals int        // of pendings so far
	givenUp  []*pending // their callers wait to go on
	late     []*pending
	runs     map[runKey]*run
	timeline timeline
	history  history
	// What has reached StatefulHandlers and machines in this step.
	handlerCalls []*run
	obedient     bool // StatefulHandlers do not go on after a command
	delivered    []delivered
	commands     map[int]int // how often each node command was received
	answers      []func()    // what clients were told, to be taken in by the root goroutine
	blamed       *violation
}

type invariant struct {
	name  string
	check func() error
}

func newSim(cfg Config, src source) *Sim {
	s := &Sim{
		cfg: cfg, source: src,
		ledger:   newLedger(),
		leases:   make(map[int64]*incarnation),
		arrived:  make(chan struct{}, 1),
		commands: make(map[int]int),
		waiting:  make(map[*pending]struct{}),
		runs:     make(map[runKey]*run),
	}
	s.ctx, s.end = context.WithCancel(context.Background())
	s.timeline.began = time.Now()
	s.history.sim = s
	for i := range cfg.Nodes {
		s.nodes = append(s.nodes, &node{name: cfg.nodeName(i)})
	}
	for i := range cfg.Tasks {
		s.ids = append(s.ids, fmt.Sprintf("t%d", i+1))
	}
	if cfg.Stateful {
		s.HandleStateful(s.drawnStateful, statemachine.WithErrHandler(s.errHandler))
	}
	switch cfg.Backend {
	case Memory:
		s.broker = newMemoryBroker(s)
	default:
		s.broker = newEtcdBroker(s)
	}
	return s
}

// Handle sets what runs tasks on all nodes. Call it before anything that makes
// nodes run. Without it, handlers work until they are stopped or Explore draws
// that they are done.
func (s *Sim) Handle(h metafora.HandlerFunc) { s.handler = h }

// HandleStateful sets the handler of stateful tasks: see package statemachine.
func (s *Sim) HandleStateful(h statemachine.StatefulHandler, opts ...statemachine.Option) {
	s.stateful, s.machine = h, opts
}

// Invariant adds a check that is made after each step. The name should say what
// must hold; schedules that break the same invariant count as the same failure.
func (s *Sim) Invariant(name string, check func() error) {
	s.invariants = append(s.invariants, invariant{name, check})
}

// Fatalf ends the simulation as failed.
func (s *Sim) Fatalf(format string, args ...any) {
	panic(&violation{invariant: "test", details: fmt.Sprintf(format, args...)})
}

// Logf adds a line to the timeline.
func (s *Sim) Logf(format string, args ...any) { s.log("", nil, fmt.Sprintf(format, args...)) }

// Start starts all nodes that do not run. The other methods that need nodes do so
// by themselves, once.
func (s *Sim) Start() {
	s.started = true
	for _, n := range s.nodes {
		if n.inc == nil || n.inc.left() {
			s.start(n)
		}
	}
	s.settle()
}

func (s *Sim) needNodes() {
	if !s.started {
		s.Start()
		s.Flow()
	}
}

// settle waits until all goroutines rest, and checks all invariants.
func (s *Sim) settle() {
	synctest.Wait()
	for s.dismiss() {
	}
	s.observe()
	s.mu.Lock()
	answers := s.answers
	s.answers = nil
	s.mu.Unlock()
	for _, take := range answers {
		take()
	}
	s.check()
}

// observe takes in what has changed at the broker, revision by revision.
func (s *Sim) observe() {
	for changes := range s.broker.changes() {
		s.checkChanges(changes)
		s.ledger.enter(changes)
		for _, c := range changes {
			if c.kind == atTask {
				s.checkLoss(c.id, s.ledger.task(c.id))
			}
		}
	}
}

// node finds a node by its name.
func (s *Sim) node(name string) *node {
	for _, n := range s.nodes {
		if n.name == name {
			return n
		}
	}
	s.Fatalf("there is no node %q", name)
	return nil
}

func (s *Sim) incarnation(name string) *incarnation {
	s.needNodes()
	n := s.node(name)
	if n.inc == nil || n.inc.left() {
		s.Fatalf("node %q does not run", name)
	}
	return n.inc
}

// act makes something happen and waits until all rests.
func (s *Sim) act(text string, f func()) {
	s.log("", nil, text)
	f()
	s.settle()
}

// Crash ends a node's process without goodbye, as kill -9 does.
func (s *Sim) Crash(node string) {
	inc := s.incarnation(node)
	s.act("crash of "+inc.String(), func() { s.crash(inc) })
}

// Restart starts a process for a node whose last one has crashed or left. It takes
// the node's name back once the old lease is gone.
func (s *Sim) Restart(node string) {
	n := s.node(node)
	if n.inc != nil && !n.inc.left() {
		s.Fatalf("node %q still runs", node)
	}
	s.started = true
	s.act("restart of "+node, func() { s.start(n) })
}

// Pause makes a node's process stand still, as SIGSTOP does, until Resume.
func (s *Sim) Pause(node string) {
	inc := s.incarnation(node)
	if !inc.paused {
		s.act(node+" stands still", func() { s.pause(inc) })
	}
}

// Resume undoes Pause.
func (s *Sim) Resume(node string) {
	if inc := s.incarnation(node); inc.paused {
		s.act(node+" goes on", func() { s.resume(inc) })
	}
}

// Partition cuts a node off from the broker until Heal. Its requests wait, and
// its watches are silent.
func (s *Sim) Partition(node string) {
	inc := s.incarnation(node)
	if !inc.cut {
		s.act(node+" is cut off", func() { s.cutOff(inc) })
	}
}

// Heal undoes Partition.
func (s *Sim) Heal(node string) {
	if inc := s.incarnation(node); inc.cut {
		s.act(node+" is connected again", func() { s.heal(inc) })
	}
}

// Shutdown asks a node to leave gracefully. It has left some time after that.
func (s *Sim) Shutdown(node string) {
	inc := s.incarnation(node)
	inc.leaving = true
	s.act(node+" is asked to leave", inc.stop)
}

// Revoke ends the lease of a node at the broker, as an operator can. It reports
// whether the node had one.
func (s *Sim) Revoke(node string) bool {
	s.actor = actor{kind: byOperator}
	defer func() { s.actor = actor{} }()
	s.log("", nil, "lease of "+node+" is revoked")
	ok := s.broker.revoke(node)
	s.settle()
	return ok
}

// DeleteOwner ends the claim on a task at the broker, as an operator can. It
// reports whether the task had an owner.
func (s *Sim) DeleteOwner(id string) bool {
	s.actor = actor{kind: byOperator}
	defer func() { s.actor = actor{} }()
	s.log("", nil, "owner of "+id+" is deleted")
	ok := s.broker.deleteOwner(id)
	s.settle()
	return ok
}

// Compact drops the broker's history up to now.
func (s *Sim) Compact() {
	s.act("history is compacted", s.broker.compact)
}

// Submit submits tasks. It takes effect at once.
func (s *Sim) Submit(ids ...string) {
	tasks := make([]metafora.Task, len(ids))
	var answered []func(error, uint64)
	for i, id := range ids {
		tasks[i] = metafora.NewTask(id)
		answered = append(answered, s.history.begin(nil, submitTask, id, 0))
	}
	what := "submit " + strings.Join(ids[:min(len(ids), 5)], ", ")
	if more := len(ids) - 5; more > 0 {
		what += fmt.Sprintf(" and %d more", more)
	}
	s.must(what, func(ctx context.Context, c Client) error { return c.SubmitTasks(ctx, tasks) })
	for i, id := range ids {
		answered[i](nil, 0)
		r := s.ledger.task(id)
		r.acked = r.submission
	}
}

// Delete deletes a task. It takes effect at once.
func (s *Sim) Delete(id string) {
	end := s.history.begin(nil, deleteTask, id, 0)
	defer func() { end(nil, 0) }()
	s.must("delete "+id, func(ctx context.Context, c Client) error { return c.DeleteTask(ctx, id) })
}

// Command sends a command to a node. The node gets it when the broker's news
// reaches it.
func (s *Sim) Command(node string, cmd metafora.Command) {
	s.must(cmd.Name+" for "+node, func(ctx context.Context, c Client) error { return c.SubmitCommand(ctx, node, cmd) })
}

// Send sends a command to a stateful task.
func (s *Sim) Send(id string, m statemachine.Message) {
	s.must(fmt.Sprintf("%v for %s", m, id), func(ctx context.Context, c Client) error { return c.Send(ctx, id, m) })
}

func (s *Sim) must(what string, f func(context.Context, Client) error) {
	s.log("", nil, what)
	s.actor = actor{kind: byCall}
	err := f(context.Background(), s.broker.admin())
	s.observe()
	s.actor = actor{}
	if err != nil {
		s.Fatalf("%s: %v", what, err)
	}
	s.settle()
}

// Nodes returns the names of all nodes.
func (s *Sim) Nodes() []string { return s.nodeNames() }

// Up reports whether a node has a process that has neither crashed nor left.
func (s *Sim) Up(node string) bool {
	n := s.node(node)
	return n.inc != nil && !n.inc.left()
}

// Owner returns the node that owns a task, "" for none, and the fence of its
// claim.
func (s *Sim) Owner(id string) (node string, fence uint64) {
	r := s.ledger.task(id)
	return r.owner, uint64(r.fence)
}

// Exists reports whether there is a task of this ID.
func (s *Sim) Exists(id string) bool { return s.ledger.task(id).submission != 0 }

// Runs returns the nodes on which a live handler has a task: one whose context has
// not ended, in a process that neither has crashed nor stands still.
func (s *Sim) Runs(id string) []string {
	var nodes []string
	for _, r := range s.running() {
		if r.claim.TaskID == id && r.live() {
			nodes = append(nodes, r.inc.node.name)
		}
	}
	return nodes
}

// running returns the handlers at work in an order of their own.
func (s *Sim) running() []*run {
	s.mu.Lock()
	runs := slices.AppendSeq(make([]*run, 0, len(s.runs)), maps.Values(s.runs))
	s.mu.Unlock()
	slices.SortFunc(runs, compareRuns)
	return runs
}

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
	for end := time.Now().Add(d); time.Now().Before(end); {
		time.Sleep(time.Until(s.nextLimit(end)))
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

// maxFlow is how much may be delivered while no time passes: more is a spin.
const maxFlow = 20_000

// flow delivers everything in order until nothing is left or something holds.
func (s *Sim) flow(until func() bool) (held bool) {
	s.flowing = true
	defer func() { s.flowing = false }()
	for n := 0; ; n++ {
		if until != nil && until() {
			return true
		}
		if n > maxFlow {
			s.violate(quiet, "%d deliveries while no time passes", n)
		}
		if s.broker.expireOverdue() {
			s.settle()
			continue
		}
		if s.cfg.Coarse {
			if !s.round() {
				return false
			}
			continue
		}
		if ready := s.ready(); len(ready) > 0 {
			s.let(ready[0])
			continue
		}
		if ds := s.broker.deliveries(); len(ds) > 0 {
			s.deliver(ds[0], 1)
			continue
		}
		return false
	}
}

// round lets all arrive that is under way, and reports whether there was anything.
func (s *Sim) round() bool {
	ready := slices.Clone(s.ready())
	for _, p := range ready {
		s.apply(p)
		s.mu.Lock()
		delete(s.waiting, p)
		s.mu.Unlock()
		p.verdict <- nil
	}
	news := s.broker.deliveries()
	for _, d := range news {
		d.deliver(math.MaxInt)
	}
	s.rounds++
	if len(ready)+len(news) == 0 {
		return false
	}
	s.settle()
	return true
}

func (s *Sim) deliver(d delivery, revisions int) {
	s.log(d.node, &pending{news: d.news}, "")
	d.deliver(revisions)
	s.settle()
}

// pass lets time pass with everything flowing, and reports whether something
// holds before it is over.
func (s *Sim) pass(d time.Duration, until func() bool) bool {
	end := time.Now().Add(d)
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		if s.flow(until) {
			return true
		}
		if !time.Now().Before(end) {
			return false
		}
		select {
		case <-s.arrived:
		case <-s.broker.due():
		case <-timer.C:
		}
		s.settle()
	}
}

// Settle ends all faults and holds the cluster to its promises: within a bounded
// time each task runs or is done, drained nodes are empty, what the nodes know is
// what the broker holds, and the nodes share the tasks. Then all nodes shut down,
// and have to leave nothing behind.
func (s *Sim) Settle() {
	s.needNodes()
	s.log("", nil, "faults end")
	for _, n := range s.nodes {
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
	s.unstick()
	s.obey()
	s.flow(nil) // a drain command may be on its way
	s.pass(s.cfg.DrainTimeout+s.cfg.TTL, func() bool { return s.undrained() == nil && !s.someLeave() })
	if v := s.undrained(); v != nil {
		panic(v)
	}
	for _, n := range s.nodes {
		if n.inc.left() {
			s.checkEnd(n.inc)
			s.start(n)
			s.settle()
		}
	}
	s.pass(5*s.cfg.TTL, s.allJoined) // as long as a process waits for its name, and more
	s.pass(time.Second, nil)
	for _, n := range s.nodes {
		if n.inc.consumer.Frozen() {
			s.Command(n.name, metafora.Unfreeze())
		}
	}
	if !s.pass(4*s.cfg.TTL+2*s.cfg.BalanceInterval, func() bool { return s.unsettled() == "" }) {
		s.violate(settles, "%s", s.unsettled())
	}
	s.settleBalance()
	s.flow(nil)
	s.checkIndex()
	s.checkTaken()
	s.leave()
	s.checkHistory()
}

// settleBalance waits until the nodes share the tasks. A node that let tasks pass is
// doubted for up to twenty minutes, and may have to be seen to take a new one.
func (s *Sim) settleBalance() {
	shared := func() bool { return s.unbalanced() == "" && s.unsettled() == "" }
	for n := range 3 * len(s.nodes) {
		if s.pass(30*time.Minute, shared) {
			return
		}
		s.Submit(fmt.Sprintf("new%d", n+1))
	}
	if !s.pass(30*time.Minute, shared) {
		s.violate(balanced, "%s", cmp.Or(s.unbalanced(), s.unsettled()))
	}
}

func (s *Sim) clearLate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.late = nil
}

func (s *Sim) allJoined() bool {
	for _, n := range s.nodes {
		lease, ok := s.ledger.nodes[n.name]
		if !ok || s.leases[lease] != n.inc || n.inc.left() {
			return false
		}
	}
	return true
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
			if run := s.runOf(s.leases[r.lease], id, r.fence); run == nil || !run.live() {
				return fmt.Sprintf("%s is owned by %s and runs on %v", id, r.owner, s.Runs(id))
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
	var left error // not an error that made it leave
	if inc.closeErr != nil && !s.leaving {
		left = inc.closeErr // the broker could not be told
	}
	// It may have failed to join, found its name taken when its lease had
	// ended, or stood still, or been stalled, while its handlers should leave.
	expected := inc.dead || !inc.joined || inc.err == nil || left != nil && errors.Is(inc.err, left) ||
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

// teardown ends everything that may still run.
func (s *Sim) teardown() {
	s.end()
	for _, n := range s.nodes {
		if n.inc != nil && !n.inc.left() {
			s.crash(n.inc)
		}
	}
	s.broker.close()
	for synctest.Wait(); s.dismiss(); {
	}
	s.mu.Lock()
	for p := range s.waiting {
		p.verdict <- ErrCrashed
	}
	for _, p := range s.givenUp {
		p.verdict <- ErrCrashed
	}
	clear(s.waiting)
	s.givenUp = nil
	s.mu.Unlock()
	for _, n := range s.nodes {
		for _, inc := range append(n.past, n.inc) {
			if inc != nil {
				<-inc.ended
			}
		}
	}
	s.asks.Wait()
	time.Sleep(time.Minute) // what has given up notices after its next pause
}

func compareRuns(a, b *run) int {
	return cmp.Or(strings.Compare(a.claim.TaskID, b.claim.TaskID), cmp.Compare(a.claim.Fence, b.claim.Fence))
}
