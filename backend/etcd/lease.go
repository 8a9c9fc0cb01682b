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
	doubt  chan struct{} // holds one: the lease or the node's key may be gone at the broker

	// known is the revision of the node's key, as far as this node knows.
	known atomic.Int64
	// own are the leases that this node was granted, this one included.
	own []clientv3.LeaseID
}

// suspect has the lease renewed now, which tells whether it is still there, and
// the node's key written if it is not.
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
	wall time.Time // sent, without the monotonic clock
	ttl  time.Duration
}

func newRenewal(sent time.Time, seconds int64) *renewal {
	return &renewal{sent: sent, wall: sent.Round(0), ttl: time.Duration(seconds) * time.Second}
}

// left returns for how long the claims of the session are safe. The monotonic
// clock stands still while a machine is suspended, and the other one may be set
// back: whichever has advanced more counts.
func (s *session) left() time.Duration {
	r, now := s.renew.Load(), time.Now()
	passed := max(now.Sub(r.sent), now.Round(0).Sub(r.wall))
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

// join grants a lease and registers the node under it. Calls follow each other.
func (c *Coordinator) join(ctx context.Context) (*session, error) {
	sent := time.Now()
	rctx, cancel := context.WithTimeout(ctx, c.opts.RequestTimeout)
	grant, err := c.conn.Grant(rctx, int64(c.opts.TTL/time.Second))
	cancel()
	if err != nil {
		return nil, fmt.Errorf("grant lease: %w", err)
	}
	c.granted = append(c.granted, grant.ID)
	c.tasks.granted(grant.ID)
	s := &session{id: grant.ID, margin: c.opts.Margin, doubt: make(chan struct{}, 1), own: slices.Clone(c.granted)}
	s.ctx, s.cancel = context.WithCancelCause(c.ctx)
	s.renew.Store(newRenewal(sent, grant.TTL))
	if err := c.register(ctx, s); err != nil {
		s.cancel(metafora.ErrLeaseLost)
		if c.revoke(ctx, s) {
			c.granted = slices.DeleteFunc(c.granted, func(id clientv3.LeaseID) bool { return id == s.id })
		}
		return nil, err
	}
	return s, nil
}

// register makes the node's key tell what this node is now, unless another live
// node has the name. A key of one of our own leases is ours: the node's last
// session may still be there, or an attempt to register that was given up.
//
// Each write compares the key's revision, so that one that was given up, and
// takes effect late, cannot undo a later one.
func (c *Coordinator) register(ctx context.Context, s *session) error {
	key := c.keys.node(c.name)
	for {
		accepting := c.accepting.Load()
		value := c.nodeValue(accepting)
		out := c.commits.do(ctx, op{
			id:     nodeOpID,
			cmps:   []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", s.known.Load())},
			then:   []clientv3.Op{clientv3.OpPut(key, value, clientv3.WithLease(s.id))},
			els:    []clientv3.Op{clientv3.OpGet(key)},
			leased: true,
			valid:  s.alive,
		})
		if out.err != nil {
			return fmt.Errorf("register: %w", out.err)
		}
		if out.held {
			s.known.Store(out.rev)
			if accepting == c.accepting.Load() {
				return nil
			}
			continue
		}
		kv := out.kv(0)
		if kv != nil && !slices.Contains(s.own, clientv3.LeaseID(kv.Lease)) {
			return nameTaken{kv.ModRevision}
		}
		s.known.Store(kv.GetModRevision())
		if kv != nil && kv.Lease == int64(s.id) && string(kv.Value) == c.nodeValue(c.accepting.Load()) {
			return nil
		}
	}
}

// nameTaken is the ErrNodeExists of a node whose name another one has.
type nameTaken struct{ rev int64 } // of the other's key

func (nameTaken) Error() string { return metafora.ErrNodeExists.Error() }
func (nameTaken) Unwrap() error { return metafora.ErrNodeExists }

// nodeOpID keeps writes to the node's own key out of each other's transactions.
// It is no task's ID, which may not be empty.
const nodeOpID = ""

// revoke ends a lease, and reports whether it is gone.
func (c *Coordinator) revoke(ctx context.Context, s *session) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(c.opts.RequestTimeout, 2*time.Second))
	defer cancel()
	_, err := c.conn.Revoke(ctx, s.id)
	if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		c.log.Warn("lease is left to expire", "error", err)
		return false
	}
	return true
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
		s = c.rejoin()
	}
}

// clockCheck is how often keepAlive looks at the clock. Timers stand still while
// a machine is suspended: the one for the end of the lease would come late.
const clockCheck = time.Second

// keepAlive renews the lease until it is lost, and returns why. It trusts nothing
// but the time at which the last answered renewal was sent: a keep-alive stream
// can be silent, or closed, while everything else works.
func (c *Coordinator) keepAlive(s *session) error {
	interval := func() time.Duration { return (s.renew.Load().ttl - s.margin) / 3 }
	next := s.renew.Load().sent.Add(interval())
	registered := true
	timer := time.NewTimer(0)
	defer timer.Stop()
	for failures := 0; ; {
		timer.Reset(min(time.Until(next), s.left(), clockCheck))
		select {
		case <-timer.C:
		case <-s.doubt:
			next, registered = time.Now(), false
		case <-s.ctx.Done():
		}
		select {
		case <-s.doubt: // came along with the timer; one renewal serves both
			next, registered = time.Now(), false
		default:
		}
		switch {
		case s.ctx.Err() != nil:
			return context.Cause(s.ctx)
		case s.left() <= 0:
			return fmt.Errorf("%w: not renewed for %v", metafora.ErrLeaseLost, time.Since(s.renew.Load().sent).Round(time.Millisecond))
		case time.Until(next) > 0:
			continue
		}
		sent := time.Now()
		ctx, cancel := context.WithTimeout(s.ctx, min(s.left(), max(interval(), time.Second)))
		resp, err := c.conn.KeepAliveOnce(ctx, s.id)
		cancel()
		switch {
		case s.ctx.Err() != nil:
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			return fmt.Errorf("%w: revoked or expired at the broker", metafora.ErrLeaseLost)
		case err != nil:
			failures++
			next = time.Now().Add(c.opts.jitter(backoff(failures)))
			c.stats.renewalFailures.Add(1)
			c.log.Warn("lease not renewed", "error", err, "left", s.left())
		case s.left() <= 0:
			// The answer came too late: claims may have been judged lost already.
		default:
			failures = 0
			c.stats.renewals.Add(1)
			s.renew.Store(newRenewal(sent, resp.TTL))
			next = sent.Add(interval())
			if !registered {
				err = c.registerAgain(s)
				registered = err == nil
			}
			if errors.Is(err, metafora.ErrNodeExists) {
				return fmt.Errorf("%w: %w", metafora.ErrLeaseLost, err)
			}
		}
	}
}

// registerAgain writes the node's key, which may be gone although the lease is
// not, or may not tell what it should.
func (c *Coordinator) registerAgain(s *session) error {
	ctx, cancel := context.WithTimeout(s.ctx, min(s.left(), c.opts.RequestTimeout))
	defer cancel()
	err := c.register(ctx, s)
	if err != nil && s.ctx.Err() == nil {
		c.log.Warn("node is not registered", "error", err)
	}
	return err
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
func (c *Coordinator) rejoin() *session {
	for failures := 1; ; failures++ {
		s, err := c.join(c.ctx)
		switch {
		case err == nil:
			c.session.Store(s)
			s.suspect() // SetAccepting may have come in between
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
	c.accepting.Store(accepting)
	s := c.session.Load()
	if s == nil || s.ctx.Err() != nil {
		return nil // it goes into the next registration
	}
	switch err := c.register(ctx, s); {
	case errors.Is(err, metafora.ErrLeaseLost):
		return c.usable(ctx) // Close may have ended the lease
	case err != nil:
		return fmt.Errorf("node %q: %w", c.name, err)
	}
	return nil
}
