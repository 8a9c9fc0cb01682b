package etcd_test

import (
	"context"
	"testing/synctest"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/simtest/simetcd"
)

// The fates of a call, as simetcd.Gates.

// failed is a call that never took effect.
func failed(context.Context, *simetcd.Call) error { return simetcd.ErrUnavailable }

// lost is a call that took effect, and whose reply was lost.
func lost(_ context.Context, c *simetcd.Call) error {
	c.Apply()
	return simetcd.ErrUnavailable
}

// silent is a call that never took effect, and whose caller waits in vain.
func silent(ctx context.Context, c *simetcd.Call) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-c.Closed():
		return simetcd.ErrClosing
	}
}

// heldCall is a call that waits for its fate.
type heldCall struct {
	*simetcd.Call
	fate chan error // holds one
}

// hold hands calls to the test. One whose caller gives up can be applied later.
func hold(calls chan<- heldCall) simetcd.Gate {
	return func(ctx context.Context, c *simetcd.Call) error {
		h := heldCall{Call: c, fate: make(chan error, 1)}
		calls <- h
		select {
		case err := <-h.fate:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-c.Closed():
			return simetcd.ErrClosing
		}
	}
}

// kinds has a fate befall calls of some kinds only.
func kinds(fate simetcd.Gate, kinds ...simetcd.Kind) simetcd.Gate {
	return func(ctx context.Context, c *simetcd.Call) error {
		for _, k := range kinds {
			if c.Kind() == k {
				return fate(ctx, c)
			}
		}
		return nil
	}
}

// losses returns what was lost by now.
func (n *simNode) losses() (claims []metafora.Claim) {
	synctest.Wait()
	for {
		select {
		case c := <-n.lost:
			claims = append(claims, c)
		default:
			return claims
		}
	}
}

// owner returns the fence of a task's owner at the broker, 0 without one.
func (s *sim) owner(id string) uint64 {
	if kv := s.Get("/metafora/tasks/" + id + "/owner"); kv != nil {
		return uint64(kv.CreateRevision)
	}
	return 0
}
