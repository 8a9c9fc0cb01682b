package simtest

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/simtest/simetcd"
)

// etcdBroker runs package backend/etcd, unmodified, on a simulated etcd.
type etcdBroker struct {
	sim       *Sim
	server    *simetcd.Server
	seen      int64 // revision up to which changes were yielded
	clients   map[*incarnation]*simetcd.Client
	adminConn *simetcd.Client
	userConn  *simetcd.Client
	adminCli  *etcd.Client
	userCli   *etcd.Client
	never     chan time.Time
	pending   []*simetcd.Watch // buffers
	news      []delivery
}

func newEtcdBroker(s *Sim) *etcdBroker {
	b := &etcdBroker{
		sim:     s,
		server:  simetcd.NewServer(simetcd.Manual(), simetcd.MinTTL(1)),
		seen:    1,
		clients: make(map[*incarnation]*simetcd.Client),
		never:   make(chan time.Time),
	}
	b.adminConn = b.server.Client("admin", nil)
	b.userConn = b.server.Client(clientName, func(ctx context.Context, c *simetcd.Call) error {
		return s.wait(ctx, newRequest(nil, c))
	})
	b.adminCli = b.newClient(b.adminConn, 1)
	b.userCli = b.newClient(b.userConn, 2)
	return b
}

func (b *etcdBroker) newClient(conn *simetcd.Client, seed uint64) *etcd.Client {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 0))
	c, err := etcd.NewClient(conn, etcd.Options{Namespace: namespace, Rand: func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return rng.Float64()
	}})
	if err != nil {
		b.sim.Fatalf("%v", err)
	}
	return c
}

func (b *etcdBroker) join(inc *incarnation) coordinator {
	conn := b.server.Client(inc.node.name, func(ctx context.Context, c *simetcd.Call) error {
		return b.sim.wait(ctx, newRequest(inc, c))
	})
	b.clients[inc] = conn
	coord, err := etcd.NewCoordinator(conn, inc.node.name, etcd.Options{
		Namespace: namespace,
		TTL:       b.sim.cfg.TTL,
		Margin:    b.sim.cfg.Margin,
		TaskFunc:  numberedTask,
		NameWait:  4 * b.sim.cfg.TTL,
		Rand:      inc.random,
	})
	if err != nil {
		b.sim.Fatalf("node %s: %v", inc.node.name, err)
	}
	return coord
}

// gate only orders calls: what may fail are the requests that follow from them.
func (b *etcdBroker) gate(ctx context.Context, inc *incarnation, verb, id string) error {
	return b.sim.wait(ctx, newPending(anOrder, inc, verb, id))
}

func (b *etcdBroker) watch(ctx context.Context, p *probe, tasks chan<- metafora.Task) error {
	return p.returned(p.coordinator.Watch(ctx, tasks))
}

func (b *etcdBroker) admin() Client { return b.adminCli }
func (b *etcdBroker) user() Client  { return b.userCli }

func (b *etcdBroker) changed() bool { return b.server.Revision() != b.seen }

func (b *etcdBroker) changes() iter.Seq[[]change] {
	return func(yield func([]change) bool) {
		events := b.server.History(b.seen)
		for len(events) > 0 {
			rev := events[0].Kv.ModRevision
			var group []change
			for len(events) > 0 && events[0].Kv.ModRevision == rev {
				group = append(group, newChange(events[0]))
				events = events[1:]
			}
			b.seen = rev
			if !yield(group) {
				return
			}
		}
	}
}

func newChange(ev *clientv3.Event) change {
	c := change{place: placeOf(ev.Kv.Key), rev: ev.Kv.ModRevision}
	if ev.Type == clientv3.EventTypePut {
		c.now = contentOf(c.kind, ev.Kv)
	}
	if ev.PrevKv != nil && c.kind == atNodeCommand {
		c.was = ev.PrevKv.Value
	}
	return c
}

func contentOf(kind placeKind, kv *mvccpb.KeyValue) *content {
	var rec struct {
		Node    string          `json:"node"`
		Props   json.RawMessage `json:"props"`
		Message json.RawMessage `json:"message"`
	}
	c := &content{since: kv.CreateRevision, lease: kv.Lease, value: kv.Value}
	switch kind {
	case atTask:
		c.nonce = string(kv.Value)
		_ = json.Unmarshal(kv.Value, &rec)
		c.number = numberOf(rec.Props)
	case atOwner:
		_ = json.Unmarshal(kv.Value, &rec)
		c.owner = rec.Node
	case atTaskCommand:
		_ = json.Unmarshal(kv.Value, &rec)
		c.value = rec.Message
	}
	return c
}

// etcdWatch is the stream of an open watch.
type etcdWatch struct{ *simetcd.Watch }

func (w etcdWatch) node() string          { return w.Node() }
func (w etcdWatch) news() fmt.Stringer    { return hearsay(w.News()) }
func (w etcdWatch) deliver(revisions int) { w.Deliver(revisions) }
func (w etcdWatch) what() string          { return area(w.Request().Key) }
func (w etcdWatch) breakOff()             { w.Break() }
func (w etcdWatch) close()                { w.Close() }

func (b *etcdBroker) deliveries() []delivery {
	b.news = b.news[:0]
	b.pending = b.server.AppendPending(b.pending[:0])
	for _, w := range b.pending {
		inc := b.sim.node(w.Node()).inc
		if !inc.dead && !inc.paused && !inc.cut && !inc.node.deaf {
			b.news = append(b.news, etcdWatch{w})
		}
	}
	return b.news
}

func (b *etcdBroker) streams() []stream {
	var list []stream
	for _, w := range b.server.Watches() {
		if !b.sim.node(w.Node()).inc.dead {
			list = append(list, etcdWatch{w})
		}
	}
	return list
}

// heard looks at the one watch of each that a node has open; what that has brought is
// taken in unless the node is about to list everything instead.
func (b *etcdBroker) heard(inc *incarnation) (ofNodes, ofTasks bool) {
	if b.sim.waits(inc, func(p *pending) bool { return p.asks(simetcd.KindGet) }) {
		return false, false
	}
	var nodes, tasks struct{ open, late int }
	for _, w := range b.server.Watches() {
		if w.Node() != inc.node.name {
			continue
		}
		of := &nodes
		switch prefix := w.Request().Key; {
		case covers(prefix, "tasks"):
			of = &tasks
		case !covers(prefix, "nodes"):
			continue
		}
		of.open++
		if !w.News().None() {
			of.late++
		}
	}
	return nodes.open == 1 && nodes.late == 0, tasks.open == 1 && tasks.late == 0
}

// covers reports whether a prefix is that of tasks, nodes or commands: what area
// says.
func covers(prefix []byte, what string) bool {
	return len(prefix) == len(namespace)+len(what)+2 && string(prefix[len(namespace)+1:len(prefix)-1]) == what
}

// hearsay is news as a person would tell them.
type hearsay simetcd.News

func (h hearsay) String() string {
	ev := simetcd.News(h).Event()
	if ev == nil {
		return "hears: " + simetcd.News(h).String()
	}
	c := newChange(ev)
	text := fmt.Sprintf("%s of %s: ", c.kind, c.id)
	switch {
	case c.kind == atTask && c.now != nil:
		text = c.id + " is there"
	case c.kind == atTask:
		text = c.id + " is gone"
	case c.kind == atOwner && c.now != nil:
		text = fmt.Sprintf("%s is owned by %s", c.id, c.now.owner)
	case c.kind == atOwner:
		text = c.id + " has no owner"
	case c.kind == atNode && c.now != nil:
		text = "node " + c.id + " is there"
	case c.kind == atNode:
		text = "node " + c.id + " is gone"
	case c.now != nil:
		text += "put"
	default:
		text += "gone"
	}
	return fmt.Sprintf("hears: %s @%d", text, c.rev)
}

// current knows from the ledger: the root goroutine rests while others ask.
func (b *etcdBroker) current(claim metafora.Claim) bool {
	r := b.sim.ledger.tasks[claim.TaskID]
	return r != nil && r.fence == int64(claim.Fence)
}

func (b *etcdBroker) due() <-chan time.Time { return b.never }

func (b *etcdBroker) overdue() []int64 {
	var ids []int64
	for _, id := range b.server.Overdue() {
		ids = append(ids, int64(id))
	}
	return ids
}

func (b *etcdBroker) expire(lease int64) {
	b.sim.actor = actor{kind: byExpiry}
	b.server.Expire(clientv3.LeaseID(lease))
	b.sim.observe()
	b.sim.actor = actor{}
}

func (b *etcdBroker) expireOverdue() bool {
	ids := b.server.Overdue()
	for _, id := range ids {
		b.sim.log("", nil, "lease expires: "+b.sim.leaseName(int64(id)))
		b.expire(int64(id))
	}
	return len(ids) > 0
}

func (b *etcdBroker) leaseEnd(lease int64) (time.Time, bool) {
	return b.server.Deadline(clientv3.LeaseID(lease))
}

func (b *etcdBroker) revoke(node string) bool {
	lease, ok := b.sim.ledger.nodes[node]
	if !ok {
		return false
	}
	ok = b.server.Expire(clientv3.LeaseID(lease))
	b.sim.observe()
	return ok
}

func (b *etcdBroker) deleteOwner(id string) bool {
	if b.sim.ledger.task(id).fence == 0 {
		return false
	}
	key := namespace + "/tasks/" + url.PathEscape(id) + "/owner"
	_, err := b.adminConn.Delete(context.Background(), key)
	b.sim.observe()
	return err == nil
}

func (b *etcdBroker) compact(keep int) {
	_ = b.server.Compact(b.server.Revision() - int64(keep)) // refused where it is gone already
}

func (b *etcdBroker) cut(*incarnation)    {}
func (b *etcdBroker) paused(*incarnation) {}

// healed breaks the streams of the watches, as a network that was away for a
// while does.
func (b *etcdBroker) healed(inc *incarnation) {
	for _, w := range b.server.Watches() {
		if w.Node() == inc.node.name {
			w.Break()
		}
	}
}

// crashed closes the connection, and then the Coordinator, which would otherwise
// try in vain for as long as its Consumer takes to end.
func (b *etcdBroker) crashed(inc *incarnation) {
	_ = b.clients[inc].Close()
	b.sim.closing.Go(func() { _ = inc.coord.Close() })
}

func (b *etcdBroker) close() { b.server.Close() }

// granted notes whose a lease is that a request has got.
func (s *Sim) granted(p *pending) {
	if p.inc == nil || !p.asks(simetcd.KindGrant) {
		return
	}
	if resp, _ := p.call.Result(); resp != nil {
		s.leases[resp.(*pb.LeaseGrantResponse).ID] = p.inc
	}
}

func (s *Sim) leaseName(id int64) string {
	if inc := s.leases[id]; inc != nil {
		return inc.String()
	}
	return "nobody's"
}
