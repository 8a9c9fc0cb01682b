package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
)

// session is one lease of the node, from its grant until it is lost. All claims
// made during a session end with it.
type session struct {
	id     clientv3.LeaseID
	margin time.Duration
	ctx    context.Context // ends when the session does
	cancel context.CancelCauseFunc
	renew  atomic.Pointer[renewal]
	doubt  chan struct{} // holds one: the lease may be gone at the broker
}

// suspect has the lease renewed now, which tells whether it is still there.
func (s *session) suspect() {
	select {
	case s.doubt <- struct{}{}:
	default:
	}
}

// renewal is the last answered grant or renewal. The lease lasts for ttl from
// when the broker handled it, which is after it was sent: counting from sent
// errs on the safe side.
type renewal struct {
	sent time.Time
	ttl  time.Duration
}

// left returns for how long the claims of the session are safe. The monotonic
// clock stands still while a machine is suspended, and the other one may be set
// back: whichever has advanced more counts.
func (s *session) left() time.Duration {
	r, now := s.renew.Load(), time.Now()
	passed := max(now.Sub(r.sent), now.Round(0).Sub(r.sent.Round(0)))
	return r.ttl - s.margin - passed
}

func (s *session) deadline() time.Time {
	r := s.renew.Load()
	return r.sent.Add(r.ttl - s.margin)
}

// alive returns an error once the session has ended or is about to.
func (s *session) alive() error {
	if s.ctx.Err() != nil || s.left() <= 0 {
		return metafora.ErrLeaseLost
	}
	return nil
}

// LeaseDeadline implements metafora.LeaseHolder. It returns a time that has
// passed when there is no lease.
func (c *Coordinator) LeaseDeadline() time.Time {
	s := c.session.Load()
	if s == nil || s.ctx.Err() != nil {
		return time.Unix(0, 0)
	}
	return s.deadline()
}

// join grants a lease and registers the node under it. previous is the lease of
// this node's last session, whose registration may still be there.
func (c *Coordinator) join(ctx context.Context, previous clientv3.LeaseID) (*session, error) {
	sent := time.Now()
	rctx, cancel := context.WithTimeout(ctx, c.opts.RequestTimeout)
	grant, err := c.conn.Grant(rctx, int64(c.opts.TTL/time.Second))
	cancel()
	if err != nil {
		return nil, fmt.Errorf("grant lease: %w", err)
	}
	s := &session{id: grant.ID, margin: c.opts.Margin, doubt: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancelCause(c.ctx)
	s.renew.Store(&renewal{sent: sent, ttl: time.Duration(grant.TTL) * time.Second})
	if err := c.register(ctx, s, previous); err != nil {
		s.cancel(metafora.ErrLeaseLost)
		c.revoke(ctx, s)
		return nil, err
	}
	return s, nil
}

// register writes the node's key unless another live node has the name.
func (c *Coordinator) register(ctx context.Context, s *session, previous clientv3.LeaseID) error {
	key := c.keys.node(c.name)
	expected := int64(0) // the key's revision that may be replaced
	for {
		c.accepting.Lock()
		put := clientv3.OpPut(key, c.nodeValue(c.accepting.now), clientv3.WithLease(s.id))
		c.accepting.Unlock()
		out := c.commits.do(ctx, op{
			id:     nodeOpID,
			cmps:   []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", expected)},
			then:   []clientv3.Op{put},
			els:    []clientv3.Op{clientv3.OpGet(key)},
			leased: true,
			valid:  s.alive,
		})
		if out.err != nil {
			return fmt.Errorf("register node %q: %w", c.name, out.err)
		}
		if out.held {
			return nil
		}
		switch kv := out.kv(0); {
		case kv == nil:
			expected = 0
		case kv.Lease == int64(s.id):
			return nil // an earlier attempt, whose reply was lost, did it
		case previous != 0 && kv.Lease == int64(previous):
			expected = kv.ModRevision
		default:
			return fmt.Errorf("node %q: %w", c.name, metafora.ErrNodeExists)
		}
	}
}

// nodeOpID keeps writes to the node's own key out of each other's transactions.
// It is no task's ID, which may not be empty.
const nodeOpID = ""

func (c *Coordinator) revoke(ctx context.Context, s *session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(c.opts.RequestTimeout, 2*time.Second))
	defer cancel()
	if _, err := c.conn.Revoke(ctx, s.id); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		c.log.Warn("lease is left to expire", "error", err)
	}
}

// holdLease keeps the lease alive, and gets another when it is lost, until the
// Coordinator is closed.
func (c *Coordinator) holdLease() {
	for s := c.session.Load(); s != nil; {
		cause := c.keepAlive(s)
		if c.ctx.Err() != nil {
			return
		}
		c.loseSession(s, cause)
		s = c.rejoin(s.id)
	}
}

// keepAlive renews the lease until it is lost, and returns why. It trusts nothing
// but the time at which the last answered renewal was sent: a keep-alive stream
// can be silent, or closed, while everything else works.
func (c *Coordinator) keepAlive(s *session) error {
	for failures := 0; ; {
		interval := (s.renew.Load().ttl - s.margin) / 3
		wait := interval - time.Since(s.renew.Load().sent)
		if failures > 0 {
			wait = c.opts.jitter(backoff(failures))
		}
		timer := time.NewTimer(min(wait, s.left()))
		select {
		case <-timer.C:
		case <-s.doubt:
		case <-s.ctx.Done():
		}
		timer.Stop()
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		if s.left() <= 0 {
			return fmt.Errorf("%w: not renewed for %v", metafora.ErrLeaseLost, time.Since(s.renew.Load().sent).Round(time.Millisecond))
		}
		sent := time.Now()
		ctx, cancel := context.WithTimeout(s.ctx, min(s.left(), max(interval, time.Second)))
		resp, err := c.conn.KeepAliveOnce(ctx, s.id)
		cancel()
		switch {
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			return fmt.Errorf("%w: revoked or expired at the broker", metafora.ErrLeaseLost)
		case err != nil:
			failures++
			c.stats.renewalFailures.Add(1)
			c.log.Warn("lease not renewed", "error", err, "left", s.left())
		case s.left() <= 0:
			// The answer came too late: claims may have been judged lost already.
		default:
			failures = 0
			c.stats.renewals.Add(1)
			s.renew.Store(&renewal{sent: sent, ttl: time.Duration(resp.TTL) * time.Second})
		}
	}
}

// loseSession tells the handlers first, then all else.
func (c *Coordinator) loseSession(s *session, cause error) {
	lost := c.tasks.endSession(s, cause)
	for _, claim := range lost {
		c.cc.Lost(claim, cause)
	}
	c.log.Error("lease lost", "claims", len(lost), "cause", cause)
	c.stats.leasesLost.Add(1)
}

// endSession makes strays of all claims of a session.
func (x *index) endSession(s *session, cause error) []metafora.Claim {
	x.mu.Lock()
	defer x.mu.Unlock()
	s.cancel(cause)
	var lost []metafora.Claim
	for _, h := range x.claims {
		if h.session != s {
			continue
		}
		x.stray(h)
		if h.ending == 0 {
			lost = append(lost, h.claim)
		}
	}
	slices.SortFunc(lost, func(a, b metafora.Claim) int { return strings.Compare(a.TaskID, b.TaskID) })
	return lost
}

// rejoin gets a new lease, however long it takes. It returns nil when the
// Coordinator is closed or another node has taken the name.
func (c *Coordinator) rejoin(previous clientv3.LeaseID) *session {
	for failures := 1; ; failures++ {
		s, err := c.join(c.ctx, previous)
		switch {
		case err == nil:
			c.session.Store(s)
			c.log.Info("rejoined with a new lease", "lease", s.id)
			return s
		case errors.Is(err, metafora.ErrNodeExists):
			c.fail(err)
			return nil
		}
		c.log.Warn("not rejoined", "error", err)
		if sleep(c.ctx, c.opts.jitter(backoff(failures))) != nil {
			return nil
		}
	}
}

// SetAccepting implements metafora.Coordinator.
func (c *Coordinator) SetAccepting(ctx context.Context, accepting bool) error {
	if err := c.usable(ctx); err != nil {
		return err
	}
	c.accepting.Lock()
	c.accepting.now = accepting
	c.accepting.Unlock()
	s := c.session.Load()
	if s == nil || s.ctx.Err() != nil {
		return nil // it goes into the next registration
	}
	key := c.keys.node(c.name)
	out := c.commits.do(ctx, op{
		id:     nodeOpID,
		cmps:   []clientv3.Cmp{clientv3.Compare(clientv3.LeaseValue(key), "=", s.id)},
		then:   []clientv3.Op{clientv3.OpPut(key, c.nodeValue(accepting), clientv3.WithLease(s.id))},
		leased: true,
		valid:  s.alive,
	})
	if out.err != nil && !errors.Is(out.err, metafora.ErrLeaseLost) {
		return fmt.Errorf("node %q: %w", c.name, out.err)
	}
	return nil
}
