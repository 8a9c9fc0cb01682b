package etcd_test

import (
	"context"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/metafora-go/metafora/backend/etcd"
)

// conn is a node's connection, which a test can cut, or make lose a reply.
type conn struct {
	etcd.Conn

	mu   sync.Mutex
	cut  chan struct{} // closed when healed; nil while connected
	lose bool          // the reply to the next transaction
	dead bool
}

func (c *conn) partition() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut == nil {
		c.cut = make(chan struct{})
	}
}

func (c *conn) heal() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut != nil && !c.dead {
		close(c.cut)
		c.cut = nil
	}
}

func (c *conn) kill() {
	c.partition()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
}

func (c *conn) loseReply() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lose = true
}

// pass waits while the connection is cut.
func (c *conn) pass(ctx context.Context) error {
	for {
		c.mu.Lock()
		cut := c.cut
		c.mu.Unlock()
		if cut == nil {
			return nil
		}
		select {
		case <-cut:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *conn) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if err := c.pass(ctx); err != nil {
		return nil, err
	}
	return c.Conn.Get(ctx, key, opts...)
}

func (c *conn) Grant(ctx context.Context, ttl int64) (*clientv3.LeaseGrantResponse, error) {
	if err := c.pass(ctx); err != nil {
		return nil, err
	}
	return c.Conn.Grant(ctx, ttl)
}

func (c *conn) Revoke(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseRevokeResponse, error) {
	if err := c.pass(ctx); err != nil {
		return nil, err
	}
	return c.Conn.Revoke(ctx, id)
}

func (c *conn) KeepAliveOnce(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseKeepAliveResponse, error) {
	if err := c.pass(ctx); err != nil {
		return nil, err
	}
	return c.Conn.KeepAliveOnce(ctx, id)
}

func (c *conn) Txn(ctx context.Context) clientv3.Txn {
	return &txn{Txn: c.Conn.Txn(ctx), ctx: ctx, c: c}
}

type txn struct {
	clientv3.Txn
	ctx context.Context
	c   *conn
}

func (t *txn) If(cs ...clientv3.Cmp) clientv3.Txn   { t.Txn = t.Txn.If(cs...); return t }
func (t *txn) Then(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Then(ops...); return t }
func (t *txn) Else(ops ...clientv3.Op) clientv3.Txn { t.Txn = t.Txn.Else(ops...); return t }

func (t *txn) Commit() (*clientv3.TxnResponse, error) {
	if err := t.c.pass(t.ctx); err != nil {
		return nil, err
	}
	resp, err := t.Txn.Commit()
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	if t.c.lose {
		t.c.lose = false
		return nil, status.Error(codes.Unavailable, "reply lost")
	}
	return resp, err
}

// Watch holds responses back while the connection is cut.
func (c *conn) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	in := c.Conn.Watch(ctx, key, opts...)
	out := make(chan clientv3.WatchResponse)
	go func() {
		defer close(out)
		for resp := range in {
			if c.pass(ctx) != nil {
				continue
			}
			select {
			case out <- resp:
			case <-ctx.Done():
			}
		}
	}()
	return out
}
