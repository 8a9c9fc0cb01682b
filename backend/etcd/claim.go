package etcd

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
)

// Claim implements metafora.Coordinator. It refuses without asking etcd where
// the watch has told that the task is owned or gone.
func (c *Coordinator) Claim(ctx context.Context, t metafora.Task) (metafora.Claim, error) {
	if t == nil {
		return metafora.Claim{}, fmt.Errorf("claim: %w: nil task", metafora.ErrInvalidID)
	}
	c.stats.claimsTried.Add(1)
	claim, err := c.claim(ctx, t)
	if errors.Is(err, metafora.ErrLeaseLost) && errors.Is(context.Cause(c.ctx), metafora.ErrClosed) {
		err = metafora.ErrClosed // which has ended the lease
	}
	if err != nil {
		return metafora.Claim{}, fmt.Errorf("claim %q: %w", t.ID(), err)
	}
	return claim, nil
}

func (c *Coordinator) claim(ctx context.Context, t metafora.Task) (metafora.Claim, error) {
	if err := c.usable(ctx); err != nil {
		return metafora.Claim{}, err
	}
	id := t.ID()
	s := c.session.Load()
	if s == nil {
		return metafora.Claim{}, metafora.ErrLeaseLost
	}
	if err := s.alive(); err != nil {
		return metafora.Claim{}, err
	}
	submission, err := c.tasks.beginClaim(t, c.decode)
	if err != nil {
		c.stats.claimsRefused.Add(1)
		return metafora.Claim{}, err
	}
	o := c.claimOp(id, submission, s)
	o.late = func(out outcome) {
		// Nobody waits for this claim any more.
		_, _ = c.endClaim(id, submission, s, out, false)
		c.tasks.reconsider(id)
	}
	out := c.commits.do(ctx, o)
	if errors.Is(out.err, metafora.ErrUncertain) {
		return metafora.Claim{}, out.err
	}
	h, err := c.endClaim(id, submission, s, out, true)
	switch {
	case err == nil:
		c.stats.claimsWon.Add(1)
		return h.claim, nil
	case errors.Is(err, metafora.ErrClaimed), errors.Is(err, metafora.ErrNoTask):
		c.stats.claimsLost.Add(1)
	}
	return metafora.Claim{}, err
}

// claimOp claims if the task is the one that was submitted then, and has no
// owner. The first of these keeps a finished task from coming back to life.
func (c *Coordinator) claimOp(id string, submission int64, s *session) op {
	task, owner := c.keys.task(id), c.keys.owner(id)
	o := op{
		id: id,
		cmps: []clientv3.Cmp{
			clientv3.Compare(clientv3.CreateRevision(task), "=", submission),
			clientv3.Compare(clientv3.CreateRevision(owner), "=", 0),
		},
		then:   []clientv3.Op{clientv3.OpPut(owner, c.ownerValue, clientv3.WithLease(s.id))},
		els:    []clientv3.Op{clientv3.OpGet(owner)},
		leased: true,
		valid:  s.alive,
	}
	prefetch := c.prefetchOps(id)
	o.then, o.els = append(o.then, prefetch...), append(o.els, prefetch...)
	return o
}

// endClaim takes in the outcome of a claim. The claim is held when it returns
// nil; it may have been lost again by then, which is an error. One that is not
// wanted any more is never held.
func (c *Coordinator) endClaim(id string, submission int64, s *session, out outcome, wanted bool) (*holding, error) {
	if errors.Is(out.err, metafora.ErrLeaseLost) {
		s.suspect()
	}
	prefetched := c.prefetched
	if !wanted {
		prefetched = nil
	}
	h, fx, err := c.tasks.endClaim(id, submission, s, out, prefetched)
	c.carryOut(fx, metafora.ErrNotOwner)
	return h, err
}

func (x *index) endClaim(id string, submission int64, s *session, out outcome, prefetched func(*holding, outcome)) (h *holding, fx effects, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.tasks[id]
	if e != nil {
		e.claiming = false
	}
	defer func() { x.settle(x.known(id), &fx) }()
	if out.err != nil {
		return nil, fx, out.err
	}
	h = &holding{session: s, submission: submission}
	fence := out.rev
	switch owner := ownerReply(out); {
	case out.held:
	case owner == nil:
		return nil, fx, metafora.ErrNoTask
	case out.uncertain && owner.Lease == int64(s.id):
		// An earlier attempt, whose reply was lost, did it.
		fence = owner.CreateRevision
	default:
		if e == nil {
			e = x.add(id)
		}
		x.put(e, true, owner)
		return nil, fx, metafora.ErrClaimed
	}
	h.claim = metafora.Claim{TaskID: id, Node: x.name, Fence: uint64(fence)}
	if prefetched == nil || s.alive() != nil {
		// Nobody wants it, or the lease was given up meanwhile; the broker may
		// not know yet. settle finds an orphan.
		if e != nil && e.ownerRev < fence {
			x.setOwner(e, x.owners.named(x.name), s.id, fence, fence)
		}
		return nil, fx, metafora.ErrLeaseLost
	}
	if e == nil || e.submission != submission || e.ownerRev > fence {
		return nil, fx, fmt.Errorf("%w: deleted or lost as soon as it was claimed", metafora.ErrNoTask)
	}
	prefetched(h, out)
	x.setOwner(e, x.owners.named(x.name), s.id, fence, fence)
	x.claims[id] = h
	return h, fx, nil
}

// ownerReply returns the owner that the else branch of a claim has found.
func ownerReply(out outcome) *keyValue {
	if out.held {
		return nil
	}
	return out.kv(0)
}

// reconsider announces a task again if it is claimable.
func (x *index) reconsider(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.tasks[id]; e != nil && e.claimable() {
		var none effects
		e.announced = false
		x.settle(e, &none)
	}
}

// owns holds while a claim is current.
func (c *Coordinator) owns(claim metafora.Claim) clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(c.keys.owner(claim.TaskID)), "=", int64(claim.Fence))
}

// Release implements metafora.Coordinator.
func (c *Coordinator) Release(ctx context.Context, claim metafora.Claim) error {
	if err := c.end(ctx, claim, c.releaseOp(claim)); err != nil {
		return fmt.Errorf("release %q: %w", claim.TaskID, err)
	}
	return nil
}

func (c *Coordinator) releaseOp(claim metafora.Claim) op {
	owner := c.keys.owner(claim.TaskID)
	return op{
		id:   claim.TaskID,
		cmps: []clientv3.Cmp{c.owns(claim)},
		then: []clientv3.Op{clientv3.OpDelete(owner)},
		els:  []clientv3.Op{clientv3.OpGet(owner), clientv3.OpGet(c.keys.task(claim.TaskID), clientv3.WithKeysOnly())},
	}
}

// Done implements metafora.Coordinator.
func (c *Coordinator) Done(ctx context.Context, claim metafora.Claim) error {
	o := c.releaseOp(claim)
	o.then = append(o.then,
		clientv3.OpDelete(c.keys.task(claim.TaskID)),
		clientv3.OpDelete(c.keys.command(claim.TaskID)))
	if err := c.end(ctx, claim, o); err != nil {
		return fmt.Errorf("done %q: %w", claim.TaskID, err)
	}
	return nil
}

// end carries out a Release or a Done.
func (c *Coordinator) end(ctx context.Context, claim metafora.Claim, o op) error {
	if err := c.usable(ctx); err != nil {
		return err
	}
	defer c.orders.forget(claim.TaskID)
	h, err := c.tasks.beginEnd(claim)
	if err != nil {
		return err
	}
	done := len(o.then) > 1
	o.late = func(out outcome) { _ = c.ended(h, done, out) }
	out := c.commits.do(ctx, o)
	if errors.Is(out.err, metafora.ErrUncertain) {
		return out.err
	}
	return c.ended(h, done, out)
}

func (c *Coordinator) ended(h *holding, done bool, out outcome) error {
	fx, err := c.tasks.finishEnd(h, done, out)
	c.carryOut(fx, metafora.ErrNotOwner)
	return err
}

// beginEnd finds the holding of a claim. While it is ending, the owner's key may
// go without the claim being lost.
func (x *index) beginEnd(claim metafora.Claim) (*holding, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	id := claimID{task: claim.TaskID, fence: claim.Fence}
	h := x.claims[claim.TaskID]
	if h == nil || h.id() != id {
		h = x.strays[id]
		if e := x.tasks[claim.TaskID]; h != nil && (e == nil || e.fence != int64(claim.Fence)) {
			delete(x.strays, id)
			h = nil
		}
	}
	if h == nil || claim.Node != x.name {
		return nil, metafora.ErrNotOwner
	}
	h.ending++
	return h, nil
}

func (x *index) finishEnd(h *holding, done bool, out outcome) (fx effects, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	id := h.claim.TaskID
	h.ending--
	defer func() { x.settle(x.known(id), &fx) }()
	switch {
	case out.err != nil:
		return fx, out.err
	case !out.held && (!out.uncertain || done && h.stillSubmitted(out)):
		// An uncertain Release is through whoever the owner is now, and an
		// uncertain Done if the task is gone.
		err = metafora.ErrNotOwner
	}
	if x.claims[id] == h {
		delete(x.claims, id)
	}
	delete(x.strays, h.id())
	if e := x.tasks[id]; e != nil && out.held {
		if out.rev > e.ownerRev {
			x.setOwner(e, nil, 0, 0, out.rev)
		}
		if done && out.rev > e.taskRev {
			x.dropTask(e, out.rev)
		}
	}
	return fx, err
}

// stillSubmitted reports whether the else branch of a Done found the task.
func (h *holding) stillSubmitted(out outcome) bool {
	task := out.kv(1)
	return task != nil && task.CreateRevision == h.submission
}

// carryOut does what a change of the index calls for.
func (c *Coordinator) carryOut(fx effects, cause error) {
	if c.ctx.Err() != nil {
		return
	}
	for _, claim := range fx.lost {
		c.log.Warn("claim lost", "task", claim.TaskID, "fence", claim.Fence, "cause", cause)
		c.cc.Lost(claim, cause)
	}
	for _, claim := range fx.orphans {
		c.releaseOrphan(claim)
	}
}

// releaseOrphan gives up, in the background, a claim of this node that nobody
// runs: the write of an attempt that was given up took effect late.
func (c *Coordinator) releaseOrphan(claim metafora.Claim) {
	c.log.Warn("releasing a claim that nobody runs", "task", claim.TaskID, "fence", claim.Fence)
	c.stats.orphans.Add(1)
	c.commits.start(c.releaseOp(claim))
}
