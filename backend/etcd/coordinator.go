package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
)

// Coordinator is a node's connection to a cluster whose broker is etcd. It
// implements metafora.Coordinator, metafora.ClusterState and
// metafora.LeaseHolder, and has the node's StateStore and CommandListener. It is
// safe for concurrent use.
type Coordinator struct {
	conn       Conn
	name       string
	opts       Options
	keys       keyspace
	log        hclog.Logger
	ownerValue string

	ctx    context.Context // ends with Close; the cause is ErrClosed or what failed
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	commits *committer
	tasks   *index
	members *members
	inbox   *inbox
	orders  *orders
	stats   *counters

	cc        metafora.CoordinatorContext
	session   atomic.Pointer[session]
	granted   []clientv3.LeaseID // and not revoked; for join
	accepting atomic.Bool
	stateful  atomic.Bool // claims fetch the task's state

	decoding sync.Mutex // TaskFunc is called from one goroutine at a time
	starting sync.Mutex // Close waits for Init or prevents it
	closing  struct {
		sync.Once
		err error
	}
}

var (
	_ metafora.Coordinator  = (*Coordinator)(nil)
	_ metafora.ClusterState = (*Coordinator)(nil)
	_ metafora.LeaseHolder  = (*Coordinator)(nil)
)

// NewCoordinator returns the Coordinator of the node of this name. It neither
// talks to etcd nor starts anything; that is Init's part. conn stays the
// caller's. Errors name the bad name or option.
func NewCoordinator(conn Conn, name string, o Options) (*Coordinator, error) {
	if err := metafora.ValidateID(name); err != nil {
		return nil, fmt.Errorf("etcd: node name: %w", err)
	}
	o, keys, err := o.resolve(conn)
	if err != nil {
		return nil, err
	}
	c := &Coordinator{
		conn: conn, name: name, opts: o, keys: keys,
		log:        o.Logger.With("node", name),
		ownerValue: encode(ownerRecord{Node: name}),
		stats:      &counters{},
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	c.commits = newCommitter(conn, o, 2, c.stats)
	c.tasks = newIndex(name, keys, c.log)
	c.members = newMembers(keys)
	c.inbox = newInbox(keys, name)
	c.orders = newOrders(keys)
	c.accepting.Store(true)
	return c, nil
}

// Name implements metafora.Coordinator.
func (c *Coordinator) Name() string { return c.name }

// Init implements metafora.Coordinator. It lists everything once; from then on
// watches tell what changes.
func (c *Coordinator) Init(ctx context.Context, cc metafora.CoordinatorContext) error {
	c.starting.Lock()
	if err := c.usable(ctx); err != nil {
		c.starting.Unlock()
		return err
	}
	c.wg.Add(1)
	c.starting.Unlock()
	defer c.wg.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(context.Cause(c.ctx)) })()
	c.cc = cc
	if err := c.init(ctx); err != nil {
		// Whatever has started ends now.
		err = cmp.Or(c.usable(ctx), err)
		c.cancel(err)
		return err
	}
	return nil
}

func (c *Coordinator) init(ctx context.Context) error {
	s, err := c.joinWithin(ctx, c.opts.NameWait)
	if err != nil {
		return fmt.Errorf("node %q: %w", c.name, err)
	}
	c.session.Store(s)
	c.wg.Go(c.holdLease) // the lists may take longer than the lease
	feeds := c.feeds()
	for _, f := range feeds {
		if err := f.list(ctx, true); err != nil {
			c.cancel(err)
			c.revoke(ctx, c.session.Load())
			return fmt.Errorf("node %q: %w", c.name, err)
		}
	}
	for _, f := range feeds {
		c.wg.Go(f.follow)
	}
	c.log.Info("joined", "namespace", c.opts.Namespace, "lease", s.id, "ttl", s.renew.Load().ttl)
	return nil
}

// joinWithin joins, waiting for the name to be free for the given time.
func (c *Coordinator) joinWithin(ctx context.Context, wait time.Duration) (*session, error) {
	until := time.Now().Add(wait)
	for {
		actx, cancel := context.WithTimeout(ctx, c.opts.RequestTimeout)
		s, err := c.join(actx)
		cancel()
		taken, ok := errors.AsType[nameTaken](err)
		if !ok || time.Until(until) <= 0 {
			return s, err
		}
		c.log.Debug("waiting for the name to be free")
		if err := c.awaitName(ctx, taken.rev, time.Until(until)); err != nil {
			return nil, err
		}
	}
}

// awaitName returns when the key that another node of this name wrote at a revision is
// gone, or the given time has passed. Watching costs etcd less than to try again and again.
func (c *Coordinator) awaitName(ctx context.Context, rev int64, wait time.Duration) error {
	watching, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	responses := c.conn.Watch(ownStream(watching, c), c.keys.node(c.name), clientv3.WithRev(rev+1))
	for {
		var resp clientv3.WatchResponse
		ok := false
		select {
		case resp, ok = <-responses:
		case <-watching.Done():
		}
		switch err := resp.Err(); {
		case watching.Err() != nil:
			return ctx.Err()
		case !ok || err != nil:
			c.log.Debug("the key of this name is not watched", "error", err)
			_ = sleep(watching, maxBackoff)
			return ctx.Err()
		case slices.ContainsFunc(resp.Events, func(e *clientv3.Event) bool { return e.Type == clientv3.EventTypeDelete }):
			return nil
		}
	}
}

// Watch implements metafora.Coordinator.
func (c *Coordinator) Watch(ctx context.Context, tasks chan<- metafora.Task) error {
	c.tasks.announceAll()
	for {
		if ctx.Err() != nil && c.ctx.Err() == nil {
			return nil
		}
		if err := c.usable(ctx); err != nil {
			return err
		}
		e, props, submission := c.tasks.nextWaiting()
		if e == nil {
			select {
			case <-c.tasks.wake:
			case <-ctx.Done():
			case <-c.ctx.Done():
			}
			continue
		}
		t, err := c.decode(e.id, props)
		if err != nil {
			c.log.Error("skipping task", "task", e.id, "error", err)
		}
		if !c.tasks.setAnnounced(e, submission, t) || err != nil {
			continue
		}
		select {
		case tasks <- t:
			continue // for less than a choice of several costs
		default:
		}
		select {
		case tasks <- t:
		case <-ctx.Done():
			c.tasks.unannounce(e)
		case <-c.ctx.Done():
		}
	}
}

func (c *Coordinator) decode(id string, props []byte) (metafora.Task, error) {
	c.decoding.Lock()
	defer c.decoding.Unlock()
	return metafora.DecodeTask(c.opts.TaskFunc, id, props)
}

// Claimable implements metafora.Coordinator.
func (c *Coordinator) Claimable(id string) bool { return c.tasks.claimable(id) }

// Nodes implements metafora.ClusterState.
func (c *Coordinator) Nodes() []metafora.Node { return c.members.nodes() }

// NodeTaskCount implements metafora.ClusterState.
func (c *Coordinator) NodeTaskCount(node string) int {
	c.tasks.mu.Lock()
	defer c.tasks.mu.Unlock()
	return c.tasks.owners.tasks(node)
}

// usable returns an error when the Coordinator was closed or ctx has ended.
func (c *Coordinator) usable(ctx context.Context) error {
	cause := context.Cause(c.ctx)
	if cause == nil {
		cause = context.Cause(ctx)
	}
	if cause != nil {
		return fmt.Errorf("node %q: %w", c.name, cause)
	}
	return nil
}

// fail ends everything with an error that Watch and the others return.
func (c *Coordinator) fail(err error) {
	c.log.Error("left the cluster", "error", err)
	c.cancel(err)
}

// Close implements metafora.Coordinator. The lease is revoked, which removes the
// node, unless claims are held: then it is left to expire with them.
func (c *Coordinator) Close() error {
	c.closing.Do(func() {
		c.starting.Lock()
		c.cancel(metafora.ErrClosed)
		c.starting.Unlock()
		c.wg.Wait()
		c.commits.close()
		s := c.session.Load()
		if s == nil || context.Cause(s.ctx) != nil && !errors.Is(context.Cause(s.ctx), metafora.ErrClosed) {
			return
		}
		if c.tasks.holdsAny() {
			c.closing.err = c.deregister(s)
			return
		}
		c.revoke(context.Background(), s)
	})
	return c.closing.err
}

// deregister removes the node's key but not its lease.
func (c *Coordinator) deregister(s *session) error {
	ctx, cancel := context.WithTimeout(context.Background(), min(c.opts.RequestTimeout, 2*time.Second))
	defer cancel()
	key := c.keys.node(c.name)
	_, err := c.conn.Txn(ctx).
		If(clientv3.Compare(clientv3.LeaseValue(key), "=", s.id)).
		Then(clientv3.OpDelete(key)).Commit()
	if err != nil {
		return fmt.Errorf("node %q: left to its lease: %w", c.name, err)
	}
	return nil
}

// holdsAny reports whether handlers may be running under claims of this node.
func (x *index) holdsAny() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.claims)+len(x.strays) > 0
}
