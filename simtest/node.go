package simtest

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/metafora-go/metafora"
)

// node is a name in the cluster, and the process that has it at the moment.
type node struct {
	name string
	inc  *incarnation    // nil before the first
	past []*incarnation  // those that have crashed or left
	deaf bool            // it gets no news
	slow map[string]bool // what is, see slow.go
	// restarts says that somebody starts it again as soon as its process is gone.
	restarts bool
}

// incarnation is one process of a node, from its start until it crashes or leaves.
type incarnation struct {
	sim      *Sim
	node     *node
	number   int
	coord    coordinator
	consumer *metafora.Consumer
	balancer *pausedBalancer
	stop     context.CancelFunc
	ended    chan struct{} // closed when Run has returned
	joined   atomic.Bool   // Init has succeeded
	closeErr error         // of the Coordinator's Close; valid once ended is closed
	err      error         // of Run, once ended is closed

	// Sim.mu guards these; the root goroutine alone writes them.
	dead   bool // it has crashed
	paused bool // it stands still, as after SIGSTOP
	cut    bool // the network does not reach it

	making atomic.Int32 // calls of its HandlerFunc under way

	leaving bool          // it was asked to leave
	resumed chan struct{} // closed when paused ends

	// Sim.mu guards these.
	done, stored map[claimKey]bool // what its handlers and machines asked for
	asks         map[claimKey][]asked
	frozen       bool // it was frozen when the last step ended
	thawing      bool // it was unfrozen in this step
	seed         uint64
	draws        uint64 // of random numbers at the instant drawnAt
	drawnAt      time.Time
}

type claimKey struct {
	id    string
	fence int64
}

func (i *incarnation) String() string {
	if i.number == 1 {
		return i.node.name
	}
	return fmt.Sprintf("%s#%d", i.node.name, i.number)
}

// asked reports whether something was asked for under a claim.
func (i *incarnation) asked(what map[claimKey]bool, id string, fence int64) bool {
	i.sim.mu.Lock()
	defer i.sim.mu.Unlock()
	return what[claimKey{id, fence}]
}

func (i *incarnation) ask(what map[claimKey]bool, c metafora.Claim) {
	i.sim.mu.Lock()
	defer i.sim.mu.Unlock()
	what[claimKey{c.TaskID, int64(c.Fence)}] = true
}

// left reports whether the process is gone.
func (i *incarnation) left() bool {
	if i.dead {
		return true
	}
	select {
	case <-i.ended:
		return true
	default:
		return false
	}
}

// awake blocks while the process stands still. It reports false in one that has
// crashed.
func (i *incarnation) awake() bool {
	for {
		i.sim.mu.Lock()
		dead, paused, resumed := i.dead, i.paused, i.resumed
		i.sim.mu.Unlock()
		if dead || !paused {
			return !dead
		}
		<-resumed
	}
}

// random returns numbers for a node's jitter. The scheduler lets goroutines go on
// one by one, and the numbers differ, so that no two timers of a node fire at once:
// they would do so in any order.
func (i *incarnation) random() float64 {
	i.sim.mu.Lock()
	defer i.sim.mu.Unlock()
	if now := time.Now(); now != i.drawnAt {
		i.drawnAt, i.draws = now, 0
	}
	i.draws++
	return rand.New(rand.NewPCG(i.seed+i.draws, uint64(i.drawnAt.UnixNano()))).Float64()
}

// start starts a process of a node.
func (s *Sim) start(n *node) {
	if n.inc != nil {
		n.past = append(n.past, n.inc)
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%s#%d", n.name, len(n.past))
	inc := &incarnation{
		sim: s, node: n, number: len(n.past) + 1,
		ended: make(chan struct{}),
		done:  make(map[claimKey]bool), stored: make(map[claimKey]bool),
		seed: h.Sum64(),
	}
	n.inc = inc
	n.restarts = false
	clear(n.slow)
	inc.coord = s.broker.join(inc)
	p := &probe{coordinator: inc.coord, inc: inc}
	options := append([]metafora.Option{
		metafora.WithBalanceInterval(s.cfg.BalanceInterval),
		metafora.WithBalanceDelay(time.Second),
		metafora.WithDrainTimeout(s.cfg.DrainTimeout),
		metafora.WithSeed(inc.seed),
	}, s.cfg.Options...)
	inc.balancer = &pausedBalancer{Balancer: s.cfg.Balancer(inc.coord), inc: inc}
	consumer, err := metafora.NewConsumer(p, s.handlerOf(inc, p), inc.balancer, options...)
	if err != nil {
		s.Fatalf("node %s: %v", n.name, err)
	}
	inc.consumer = consumer
	ctx, stop := context.WithCancel(context.Background())
	inc.stop = stop
	go inc.run(ctx)
}

func (i *incarnation) run(ctx context.Context) {
	defer close(i.ended)
	i.err = i.consumer.Run(ctx)
}

// crash ends a process without goodbye. What is left of it in this bubble gets
// errors for all that it tries, until it has ended.
func (s *Sim) crash(inc *incarnation) {
	s.mu.Lock()
	inc.dead = true
	var theirs []*pending
	for _, p := range s.waiting {
		if p.inc == inc {
			theirs = append(theirs, p)
		}
	}
	slices.SortFunc(theirs, comparePending)
	for _, p := range theirs {
		s.unwait(p)
		s.keepLate(p)
		p.verdict <- ErrCrashed
	}
	resumed := inc.resumed
	inc.paused, inc.resumed = false, nil
	s.mu.Unlock()
	if resumed != nil {
		close(resumed)
	}
	for _, r := range s.running() {
		if r.inc == inc {
			r.cancel(ErrCrashed)
		}
	}
	s.broker.crashed(inc)
	inc.stop()
}

func (s *Sim) pause(inc *incarnation) {
	s.mu.Lock()
	inc.paused, inc.resumed = true, make(chan struct{})
	s.mu.Unlock()
	s.broker.paused(inc)
}

func (s *Sim) resume(inc *incarnation) {
	s.mu.Lock()
	resumed := inc.resumed
	inc.paused, inc.resumed = false, nil
	s.mu.Unlock()
	s.broker.healed(inc)
	close(resumed)
}

func (s *Sim) cutOff(inc *incarnation) {
	s.mu.Lock()
	inc.cut = true
	s.mu.Unlock()
	s.broker.cut(inc)
}

func (s *Sim) heal(inc *incarnation) {
	s.mu.Lock()
	inc.cut = false
	s.mu.Unlock()
	s.broker.healed(inc)
}

// pausedBalancer stands still with its process.
type pausedBalancer struct {
	metafora.Balancer
	inc     *incarnation
	context metafora.BalancerContext
}

func (b *pausedBalancer) Init(bc metafora.BalancerContext) {
	b.context = bc
	b.Balancer.Init(bc)
}

func (b *pausedBalancer) CanClaim(t metafora.Task) (time.Time, bool) {
	b.inc.awake()
	return b.Balancer.CanClaim(t)
}

func (b *pausedBalancer) Forget(id string) {
	b.inc.awake()
	if f, ok := b.Balancer.(metafora.Forgetter); ok {
		f.Forget(id)
	}
}

func (b *pausedBalancer) Balance() []string {
	b.inc.awake()
	return b.Balancer.Balance()
}
