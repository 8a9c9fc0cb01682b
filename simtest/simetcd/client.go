package simetcd

import (
	"context"
	"errors"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// ErrUnavailable is what clientv3 returns when the connection broke: whether the
// request took effect is unknown.
var ErrUnavailable = status.Error(codes.Unavailable, "error reading from server: EOF")

// ErrClosing is what clientv3 returns once the client is closed.
var ErrClosing = status.Error(codes.Canceled, "grpc: the client connection is closing")

// Client is one node's connection to a Server. It implements clientv3.KV,
// clientv3.Lease and clientv3.Watcher; KV is clientv3's own on top of the
// simulated server.
type Client struct {
	clientv3.KV
	lease  clientv3.Lease // for its unary calls
	server *Server
	node   string
	gate   Gate

	done chan struct{}  // closed by Close
	wg   sync.WaitGroup // the goroutines of watches and of KeepAlive

	// Guarded by the server's mutex: closed, and up, which is nil while the
	// client is connected and otherwise closed when it is again.
	closed bool
	up     chan struct{}
}

var (
	_ clientv3.KV      = (*Client)(nil)
	_ clientv3.Lease   = (*Client)(nil)
	_ clientv3.Watcher = (*Client)(nil)
)

// Client returns a new connection for a node. All its calls pass gate, nil for
// none. Clients of one node may follow or overlap each other, as the
// incarnations of a process do. The caller or the Server closes it.
func (s *Server) Client(node string, gate Gate) *Client {
	c := &Client{server: s, node: node, gate: gate, done: make(chan struct{})}
	c.KV = clientv3.NewKVFromKVClient(kvCalls{c}, nil)
	c.lease = clientv3.NewLeaseFromLeaseClient(leaseCalls{c: c}, nil, 0)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.closed = true
		close(c.done)
	} else {
		s.clients[c] = struct{}{}
	}
	return c
}

// Node returns the name that the client was made with.
func (c *Client) Node() string { return c.node }

// Close ends the watches and the keep-alives of the client and returns when
// their goroutines have ended. Calls that pass the gate afterwards fail. It may
// be called more than once.
func (c *Client) Close() error {
	s := c.server
	s.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.done)
		delete(s.clients, c)
		for _, w := range s.watches {
			if w.client == c {
				w.end()
			}
		}
	}
	s.mu.Unlock()
	c.wg.Wait()
	return c.lease.Close()
}

// Disconnect cuts the client off: calls wait until it is connected again or
// their contexts end, and watches are silent. Calls that wait at the gate are
// the gate's business.
func (c *Client) Disconnect() {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.up == nil {
		c.up = make(chan struct{})
	}
}

// Reconnect ends what Disconnect began. Watches go on where they were, as those
// of clientv3 do, unless the revisions that they need were compacted.
func (c *Client) Reconnect() {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.up == nil {
		return
	}
	close(c.up)
	c.up = nil
	for _, w := range s.watches {
		if w.client == c {
			w.resume()
			w.signal()
		}
	}
}

// start runs f on a goroutine that Close waits for. It reports false when the
// client is closed.
func (c *Client) start(f func()) bool {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(f)
	return true
}

// do passes a call through the gate, to the server, and back.
func do[Resp any](ctx context.Context, c *Client, k Kind, r proto.Message) (Resp, error) {
	return pass[Resp](ctx, &Call{client: c, kind: k, req: r})
}

func pass[Resp any](ctx context.Context, call *Call) (resp Resp, err error) {
	if err := call.client.admit(ctx, call); err != nil {
		return resp, grpcError(err)
	}
	call.Apply()
	answer, err := call.Result()
	if err != nil {
		return resp, err
	}
	return answer.(Resp), nil
}

// admit waits until a call may reach the server.
func (c *Client) admit(ctx context.Context, call *Call) error {
	if err := c.connected(ctx); err != nil {
		return err
	}
	if c.gate != nil {
		if err := c.gate(ctx, call); err != nil {
			return err
		}
	}
	if c.isClosed() {
		return ErrClosing
	}
	return nil
}

// connected waits while the client is cut off.
func (c *Client) connected(ctx context.Context) error {
	for {
		c.server.mu.Lock()
		up, closed := c.up, c.closed
		c.server.mu.Unlock()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case closed:
			return ErrClosing
		case up == nil:
			return nil
		}
		select {
		case <-up:
		case <-ctx.Done():
		case <-c.done:
		}
	}
}

func (c *Client) isClosed() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// grpcError makes the error of a context one that gRPC returns for it, which
// clientv3 turns back.
func grpcError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	return err
}

// kvCalls is the server as clientv3's KV calls it.
type kvCalls struct{ c *Client }

func (k kvCalls) Range(ctx context.Context, r *pb.RangeRequest, _ ...grpc.CallOption) (*pb.RangeResponse, error) {
	return do[*pb.RangeResponse](ctx, k.c, KindGet, r)
}

func (k kvCalls) RangeStream(context.Context, *pb.RangeRequest, ...grpc.CallOption) (grpc.ServerStreamingClient[pb.RangeStreamResponse], error) {
	return nil, status.Error(codes.Unimplemented, "unknown method RangeStream for service etcdserverpb.KV")
}

func (k kvCalls) Put(ctx context.Context, r *pb.PutRequest, _ ...grpc.CallOption) (*pb.PutResponse, error) {
	return do[*pb.PutResponse](ctx, k.c, KindPut, r)
}

func (k kvCalls) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest, _ ...grpc.CallOption) (*pb.DeleteRangeResponse, error) {
	return do[*pb.DeleteRangeResponse](ctx, k.c, KindDelete, r)
}

func (k kvCalls) Txn(ctx context.Context, r *pb.TxnRequest, _ ...grpc.CallOption) (*pb.TxnResponse, error) {
	return do[*pb.TxnResponse](ctx, k.c, KindTxn, r)
}

func (k kvCalls) Compact(ctx context.Context, r *pb.CompactionRequest, _ ...grpc.CallOption) (*pb.CompactionResponse, error) {
	return do[*pb.CompactionResponse](ctx, k.c, KindCompact, r)
}
