package simtest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
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
	absent []*node // have never been there, and may come
	named  map[string]*node
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
	clients  int // calls of clients under way
	sent     int // commands for nodes
	obeyed   int // of these, when Settle saw to it that nodes have got all
	// submissions counts the tasks that were to be submitted.
	submissions int
	happened    int                 // since Explore began
	changed     bool                // what is at the broker, since all rested
	hold        func(*pending) bool // keeps what it holds for from happening
	held        []*pending
	deck        []*action
	flowing     bool           // everything is delivered in order
	idling      bool           // time passes, and nothing is delivered
	leaving     bool           // all nodes shut down
	asks        sync.WaitGroup // clients
	errands     chan func()    // theirs
	closing     sync.WaitGroup // Coordinators of crashed processes

	ctx     context.Context // of the calls of clients
	end     context.CancelFunc
	arrived chan struct{} // holds one: something waits

	mu       sync.Mutex // guards all below
	waiting  []*pending // in no order
	arrivals int        // of pendings so far
	givenUp  []*pending // their callers wait to go on
	late     []*pending
	runs     map[runKey]*run
	unsure   map[*run]struct{}           // of runs, those to look at
	sure     map[int64]map[*run]struct{} // the others, by the lease of their claim
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
		errands:  make(chan func()),
		commands: make(map[int]int),
		named:    make(map[string]*node, cfg.Nodes),
		runs:     make(map[runKey]*run),
		unsure:   make(map[*run]struct{}),
		sure:     make(map[int64]map[*run]struct{}),
	}
	s.ctx, s.end = context.WithCancel(context.Background())
	s.timeline.began, s.timeline.entries = time.Now(), make([]entry, 0, 2*cfg.Steps)
	s.history.sim = s
	for i := range cfg.Nodes {
		n := &node{name: cfg.nodeName(i)}
		s.nodes, s.named[n.name] = append(s.nodes, n), n
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
func (s *Sim) settle() { s.settleAfter(nil) }

// settleAfter settles what only one process has a part in, nil for all.
func (s *Sim) settleAfter(inc *incarnation) {
	synctest.Wait()
	for s.dismiss() {
		inc = nil
	}
	s.observe()
	if s.changed {
		inc, s.changed = nil, false
	}
	s.mu.Lock()
	answers := s.answers
	s.answers = nil
	s.mu.Unlock()
	for _, take := range answers {
		take()
	}
	s.check(inc)
}

// observe takes in what has changed at the broker, revision by revision.
func (s *Sim) observe() {
	if !s.broker.changed() {
		return
	}
	s.changed = true
	for changes := range s.broker.changes() {
		s.checkChanges(changes)
		for _, c := range changes {
			if c.kind == atTask || c.kind == atOwner {
				s.doubt(c.id, s.ledger.task(c.id))
			}
		}
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
	n := s.named[name]
	if n == nil {
		s.Fatalf("there is no node %q", name)
	}
	return n
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

// teardown ends everything that may still run.
func (s *Sim) teardown() {
	s.end()
	for _, n := range s.nodes {
		for _, inc := range append(n.past, n.inc) {
			if inc != nil && !inc.dead { // one that has left may have left a handler behind
				s.crash(inc)
			}
		}
	}
	s.broker.close()
	for synctest.Wait(); s.dismiss(); {
	}
	s.mu.Lock()
	for _, n := range s.nodes {
		for _, inc := range n.past {
			inc.dead = true // stuck handlers go on now
		}
		if n.inc != nil {
			n.inc.dead = true
		}
	}
	for _, p := range s.waiting {
		p.waits = false
		p.verdict <- ErrCrashed
	}
	for _, p := range s.givenUp {
		p.verdict <- ErrCrashed
	}
	s.waiting = nil
	s.givenUp = nil
	s.mu.Unlock()
	for _, n := range s.nodes {
		for _, inc := range append(n.past, n.inc) {
			if inc != nil {
				<-inc.ended
			}
		}
	}
	close(s.errands)
	s.asks.Wait()
	s.closing.Wait()
	time.Sleep(time.Minute) // what has given up notices after its next pause
}

func compareRuns(a, b *run) int {
	return cmp.Or(strings.Compare(a.claim.TaskID, b.claim.TaskID), cmp.Compare(a.claim.Fence, b.claim.Fence))
}
