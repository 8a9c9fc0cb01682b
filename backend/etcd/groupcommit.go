package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/metafora-go/metafora"
)

const (
	// etcd counts the outer operations plus those of the widest nested
	// transaction against --max-txn-ops, 128 by default.
	maxTxnOps = 128
	// maxTxnBytes stays well below etcd's --max-request-bytes, 1.5 MiB by
	// default; a single operation may be larger than this.
	maxTxnBytes = 1 << 20
	// maxValueBytes is the largest value that fits a request of its own.
	maxValueBytes = 1 << 20

	minBackoff = 20 * time.Millisecond
	maxBackoff = time.Second
)

// op is a conditional write: IF all of cmps THEN then ELSE els.
type op struct {
	// id is what the operation is about: no two operations of one id share a
	// transaction, in which etcd allows each key to be written once.
	id        string
	cmps      []clientv3.Cmp
	then, els []clientv3.Op
	// leased says that then needs a lease: the operation fails with
	// ErrLeaseLost when the lease is gone.
	leased bool
	// once says that a lost reply is the caller's to settle. Otherwise the
	// operation must be one that may be repeated: it is, until it is answered.
	once bool
	// valid is asked before each attempt, if set; its error ends the operation.
	valid func() error
	// late receives the outcome when the caller's context ended before it was
	// known. It must not block. Without it the operation is then given up.
	late func(outcome)
}

func (o *op) width() int { return max(len(o.cmps), len(o.then), len(o.els), 1) + 1 }

// size is about what the operation adds to a request, in bytes.
func (o *op) size() int {
	const overhead = 32 // of one compare or operation, numbers included
	n := overhead
	for _, c := range o.cmps {
		n += len(c.KeyBytes()) + overhead
	}
	for _, ops := range [][]clientv3.Op{o.then, o.els} {
		for _, each := range ops {
			n += len(each.KeyBytes()) + len(each.ValueBytes()) + overhead
			if each.IsTxn() {
				var nested op
				nested.cmps, nested.then, nested.els = each.Txn()
				n += nested.size()
			}
		}
	}
	return n
}

// outcome is what became of an op.
type outcome struct {
	held    bool  // the cmps did
	rev     int64 // of the store, after the transaction
	replies []*pb.ResponseOp
	// uncertain says that the reply to an earlier attempt, or with an error
	// to the only one, was lost: it may have taken effect.
	uncertain bool
	err       error
}

// kv returns the i-th reply's first key, nil where the key does not exist.
func (o outcome) kv(i int) *keyValue {
	kvs := o.replies[i].GetResponseRange().GetKvs()
	if len(kvs) == 0 {
		return nil
	}
	return kvs[0]
}

// committer gathers concurrent operations while a transaction is under way and
// sends them as one, nested where there are several. It has no goroutine while
// there is nothing to send.
type committer struct {
	kv      clientv3.KV
	ctx     context.Context // ends with close
	cancel  context.CancelFunc
	timeout time.Duration // of one transaction
	senders int           // transactions under way at most
	jitter  func(time.Duration) time.Duration
	stats   *counters
	wg      sync.WaitGroup

	mu      sync.Mutex // guards what follows, and the pendings' fields
	queue   []*pending
	running int
	closed  bool
}

type pending struct {
	op
	done      chan outcome // holds one
	size      int
	most      int // operations in a transaction with this one
	uncertain bool
	queued    bool
	abandoned bool
}

func newPending(o op) *pending {
	return &pending{op: o, done: make(chan outcome, 1), size: o.size(), most: maxTxnOps}
}

func newCommitter(kv clientv3.KV, o Options, senders int, stats *counters) *committer {
	ctx, cancel := context.WithCancel(context.Background())
	return &committer{
		kv: kv, ctx: ctx, cancel: cancel, timeout: o.RequestTimeout,
		senders: senders, jitter: o.jitter, stats: stats,
	}
}

// close ends all operations with ErrClosed and waits for the senders.
func (c *committer) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	c.wg.Wait()
}

// do carries o out and waits for the outcome. When ctx ends first the operation
// is withdrawn or, if it may have taken effect already, goes on without the
// caller, which sees ErrUncertain: see op.late.
func (c *committer) do(ctx context.Context, o op) outcome {
	if ctx.Err() != nil {
		return outcome{err: context.Cause(ctx)}
	}
	p := newPending(o)
	c.enqueue(p)
	select {
	case out := <-p.done:
		return out
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case out := <-p.done:
		return out
	default:
	}
	if p.queued && !p.uncertain {
		c.queue = slices.DeleteFunc(c.queue, func(q *pending) bool { return q == p })
		return outcome{err: context.Cause(ctx)}
	}
	p.abandoned = true
	return outcome{uncertain: true, err: fmt.Errorf("%w: %w", metafora.ErrUncertain, context.Cause(ctx))}
}

// start carries o out in the background.
func (c *committer) start(o op) {
	o.late = func(outcome) {}
	p := newPending(o)
	p.abandoned = true
	c.enqueue(p)
}

func (c *committer) enqueue(ps ...*pending) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		for _, p := range ps {
			c.settle(p, outcome{uncertain: p.uncertain, err: metafora.ErrClosed})
		}
		return
	}
	for _, p := range ps {
		p.queued = true
	}
	c.queue = append(c.queue, ps...)
	if c.running < c.senders {
		c.running++
		c.wg.Go(c.send)
	}
	c.mu.Unlock()
}

// send sends transactions until the queue is empty.
func (c *committer) send() {
	failures := 0
	for {
		batch := c.next()
		if batch == nil {
			return
		}
		if batch = c.refuseInvalid(batch); len(batch) == 0 {
			continue
		}
		resp, err := c.commit(batch)
		if err == nil {
			failures = 0
			for i, p := range batch {
				r := (*pb.TxnResponse)(resp)
				if len(batch) > 1 {
					r = resp.Responses[i].GetResponseTxn()
				}
				c.settle(p, outcome{held: r.Succeeded, rev: resp.Header.Revision, replies: r.Responses, uncertain: p.uncertain})
			}
			continue
		}
		if again := c.sortOut(batch, err); len(again) > 0 {
			failures++
			c.pause(failures)
			c.enqueue(again...)
		}
	}
}

// next takes a batch off the queue. It returns nil, and counts the sender out,
// when there is none.
func (c *committer) next() []*pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	var (
		batch       []*pending
		ids         = make(map[string]struct{})
		width, size int
		most        = maxTxnOps
		rest        = c.queue[:0]
	)
	for i, p := range c.queue {
		w, m := max(width, p.width()), min(most, p.most)
		_, twice := ids[p.id]
		full := len(batch)+1+w > maxTxnOps || len(batch)+1 > m || size+p.size > maxTxnBytes
		if len(batch) > 0 && full {
			rest = append(rest, c.queue[i:]...)
			break
		}
		if twice {
			rest = append(rest, p)
			continue
		}
		p.queued = false
		batch, width, most, size = append(batch, p), w, m, size+p.size
		ids[p.id] = struct{}{}
	}
	clear(c.queue[len(rest):])
	c.queue = rest
	if batch == nil {
		c.running--
	}
	return batch
}

// refuseInvalid settles the operations that have become pointless.
func (c *committer) refuseInvalid(batch []*pending) []*pending {
	return slices.DeleteFunc(batch, func(p *pending) bool {
		if p.valid == nil {
			return false
		}
		err := p.valid()
		if err != nil {
			c.settle(p, outcome{uncertain: p.uncertain, err: err})
		}
		return err != nil
	})
}

// commit sends one operation as a transaction, or several as one of transactions.
func (c *committer) commit(batch []*pending) (*clientv3.TxnResponse, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.timeout)
	defer cancel()
	txn := c.kv.Txn(ctx)
	if len(batch) == 1 {
		p := batch[0]
		txn.If(p.cmps...).Then(p.then...).Else(p.els...)
	} else {
		ops := make([]clientv3.Op, len(batch))
		for i, p := range batch {
			ops[i] = clientv3.OpTxn(p.cmps, p.then, p.els)
		}
		txn.Then(ops...)
	}
	resp, err := txn.Commit()
	c.stats.transaction(len(batch), err)
	return resp, err
}

// sortOut settles the operations of a failed transaction that have failed for
// good, and returns those that must be tried again.
func (c *committer) sortOut(batch []*pending, err error) (again []*pending) {
	if c.ctx.Err() != nil {
		for _, p := range batch {
			c.settle(p, outcome{uncertain: true, err: metafora.ErrClosed})
		}
		return nil
	}
	refused := refusedByServer(err)
	for _, p := range batch {
		p.uncertain = p.uncertain || !refused
		switch {
		case c.givenUp(p):
		case p.leased && errors.Is(err, rpctypes.ErrLeaseNotFound):
			c.settle(p, outcome{err: metafora.ErrLeaseLost})
		case errors.Is(err, rpctypes.ErrTooManyRequests):
			again = append(again, p)
		case !refused && !p.once:
			again = append(again, p)
		case !refused:
			c.settle(p, outcome{uncertain: true, err: err})
		case len(batch) > 1:
			// One of them is to blame, or all together are too much. Halving
			// finds which, at the cost of few transactions.
			p.most = len(batch) / 2
			again = append(again, p)
		default:
			c.settle(p, outcome{uncertain: p.uncertain, err: err})
		}
	}
	return again
}

func (c *committer) givenUp(p *pending) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return p.abandoned && p.late == nil
}

func (c *committer) settle(p *pending, out outcome) {
	c.mu.Lock()
	abandoned := p.abandoned
	if !abandoned {
		p.done <- out
	}
	c.mu.Unlock()
	if abandoned && p.late != nil {
		p.late(out)
	}
}

// pause waits before another attempt.
func (c *committer) pause(failures int) {
	_ = sleep(c.ctx, c.jitter(backoff(failures)))
}

// backoff doubles with each failure.
func backoff(failures int) time.Duration {
	return min(minBackoff<<min(failures-1, 10), maxBackoff)
}

// sleep waits for d, or until ctx ends, and returns its cause then.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// refusedByServer reports whether err says that a request took no effect. All
// else, a timeout above all, leaves that open.
func refusedByServer(err error) bool {
	var e rpctypes.EtcdError
	code := status.Code(err)
	if errors.As(err, &e) {
		code = e.Code()
	}
	switch code {
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied,
		codes.ResourceExhausted, codes.FailedPrecondition, codes.OutOfRange, codes.Unauthenticated,
		codes.Unimplemented:
		return true
	}
	return false
}
