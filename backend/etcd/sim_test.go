package etcd_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/simtest/simetcd"
)

// inSim runs a test in fake time on a simulated etcd.
func inSim(t *testing.T, test func(t *testing.T, s *sim), opts ...simetcd.Option) {
	synctest.Test(t, func(t *testing.T) {
		s := &sim{Server: simetcd.NewServer(opts...), t: t}
		t.Cleanup(s.Close)
		test(t, s)
	})
}

type sim struct {
	*simetcd.Server
	t *testing.T
}

// gate is a simetcd.Gate that a test can change. Calls pass while it has none.
type gate struct {
	mu  sync.Mutex
	now simetcd.Gate
}

func (g *gate) pass(ctx context.Context, c *simetcd.Call) error {
	g.mu.Lock()
	now := g.now
	g.mu.Unlock()
	if now == nil {
		return nil
	}
	return now(ctx, c)
}

func (g *gate) set(now simetcd.Gate) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.now = now
}

// next applies a gate to the next n calls of a kind, and returns what counts
// those that were still to come.
func (g *gate) next(n int, kind simetcd.Kind, fate simetcd.Gate) (left func() int) {
	var mu sync.Mutex
	g.set(func(ctx context.Context, c *simetcd.Call) error {
		mu.Lock()
		hit := n > 0 && c.Kind() == kind
		if hit {
			n--
		}
		mu.Unlock()
		if hit {
			return fate(ctx, c)
		}
		return nil
	})
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// relay is a connection whose watches a test can hold up, or make lose events as
// etcd has done.
type relay struct {
	*simetcd.Client

	mu   sync.Mutex
	held chan struct{} // closed when it goes on; nil while it does
	lose func(*clientv3.Event) bool
}

func (r *relay) holdWatch() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = make(chan struct{})
}

func (r *relay) resumeWatch() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.held)
	r.held = nil
}

func (r *relay) loseEvents(lose func(*clientv3.Event) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lose = lose
}

func (r *relay) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	in, out := r.Client.Watch(ctx, key, opts...), make(chan clientv3.WatchResponse)
	go func() {
		defer close(out)
		for resp := range in {
			r.mu.Lock()
			held, lose := r.held, r.lose
			r.mu.Unlock()
			if held != nil {
				select {
				case <-held:
				case <-ctx.Done():
				}
			}
			if lose != nil {
				resp.Events = slices.DeleteFunc(slices.Clone(resp.Events), lose)
			}
			select {
			case out <- resp:
			case <-ctx.Done():
			}
		}
	}()
	return out
}

// simNode is a node that has joined, and whose Watch runs.
type simNode struct {
	*etcd.Coordinator
	t     *testing.T
	conn  *relay
	gate  *gate
	lost  losses
	tasks chan metafora.Task
}

func (s *sim) options(o etcd.Options) etcd.Options {
	if o.Rand == nil {
		o.Rand = func() float64 { return 0.5 }
	}
	return o
}

// newNode makes a node that has not joined.
func (s *sim) newNode(name string, o etcd.Options) *simNode {
	s.t.Helper()
	n := &simNode{t: s.t, gate: &gate{}, lost: make(losses, 1000), tasks: make(chan metafora.Task, 1000)}
	n.conn = &relay{Client: s.Client(name, n.gate.pass)}
	var err error
	if n.Coordinator, err = etcd.NewCoordinator(n.conn, name, s.options(o)); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = n.Close() })
	return n
}

func (s *sim) node(name string, o etcd.Options) *simNode {
	s.t.Helper()
	n := s.newNode(name, o)
	if err := n.Init(s.t.Context(), n.lost); err != nil {
		s.t.Fatal(err)
	}
	n.watch(s.t.Context())
	return n
}

// watch runs Watch until ctx ends.
func (n *simNode) watch(ctx context.Context) {
	ended := make(chan error, 1)
	go func() { ended <- n.Watch(ctx, n.tasks) }()
	n.t.Cleanup(func() {
		if err := <-ended; err != nil && !errors.Is(err, metafora.ErrClosed) {
			n.t.Errorf("Watch of %s: %v", n.Name(), err)
		}
	})
}

func (s *sim) client(g *gate) *etcd.Client {
	s.t.Helper()
	pass := simetcd.Gate(nil)
	if g != nil {
		pass = g.pass
	}
	c, err := etcd.NewClient(s.Client("client", pass), etcd.Options{}) // nonces come from Rand
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *sim) submit(ids ...string) {
	s.t.Helper()
	for _, id := range ids {
		if err := s.client(nil).SubmitTask(s.t.Context(), metafora.NewTask(id)); err != nil {
			s.t.Fatal(err)
		}
	}
	synctest.Wait()
}

// announced returns the IDs of the tasks announced by now.
func (n *simNode) announced() (ids []string) {
	synctest.Wait()
	for {
		select {
		case task := <-n.tasks:
			ids = append(ids, task.ID())
		default:
			return ids
		}
	}
}

// claimed claims the tasks, which were announced or else must be.
func (n *simNode) claimed(ids ...string) []metafora.Claim {
	n.t.Helper()
	var claims []metafora.Claim
	for _, id := range ids {
		claim, err := n.Claim(n.t.Context(), metafora.NewTask(id))
		if err != nil {
			n.t.Fatal(err)
		}
		claims = append(claims, claim)
	}
	return claims
}

// after lets fake time pass and everything that is due happen.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
