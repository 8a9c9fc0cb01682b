package simetcd_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora/simtest/simetcd"
)

// TestSameDecisionsSameRun runs nodes that compete for tasks under a random
// scheduler, twice for each seed: no step may differ.
func TestSameDecisionsSameRun(t *testing.T) {
	const seeds = 300
	begin := time.Now()
	for seed := range uint64(seeds) {
		first, second := runSchedule(t, seed), runSchedule(t, seed)
		if !slices.Equal(first, second) {
			t.Fatalf("seed %d: two runs differ:\n%q\n%q", seed, first, second)
		}
	}
	t.Logf("%.0f schedules of 100 steps a second", 2*seeds/time.Since(begin).Seconds())
}

// runSchedule returns what happened in 100 steps.
func runSchedule(t *testing.T, seed uint64) (trace []string) {
	synctest.Test(t, func(t *testing.T) {
		sched := &scheduler{
			t:      t,
			rng:    rand.New(rand.NewPCG(seed, 0)),
			server: simetcd.NewServer(simetcd.Manual()),
		}
		defer sched.server.Close()
		operator := sched.server.Client("operator", nil)
		for i := range 5 {
			mustPut(t, operator, fmt.Sprintf("/tasks/%d", i))
		}
		for i := range 3 {
			node := sched.server.Client(fmt.Sprintf("n%d", i), sched.stage.gate)
			go compete(t.Context(), node)
		}
		for range 100 {
			synctest.Wait()
			sched.step()
		}
		trace = sched.trace
	})
	return trace
}

type scheduler struct {
	t *testing.T
	stage
	rng    *rand.Rand
	server *simetcd.Server
	trace  []string
}

// step picks one of the things that can happen next.
func (s *scheduler) step() {
	calls := s.waiting()
	watches := s.server.AppendPending(nil)
	s.sameAsEach(watches)
	switch n := s.rng.IntN(len(calls) + len(watches) + 1); {
	case n < len(calls):
		s.decide(calls[n])
	case n < len(calls)+len(watches):
		w := watches[n-len(calls)]
		s.log("%s %s: %s", w.Node(), w, w.Peek())
		w.Deliver(1 + s.rng.IntN(3))
	case s.rng.IntN(4) == 0 && len(s.server.Leases()) > 0:
		leases := s.server.Leases()
		l := leases[s.rng.IntN(len(leases))]
		s.log("expire lease %d of %v", l.ID, l.Keys)
		s.server.Expire(l.ID)
	default:
		s.log("a second passes")
		time.Sleep(time.Second)
	}
}

// sameAsEach holds the pending watches against what each of them says.
func (s *scheduler) sameAsEach(pending []*simetcd.Watch) {
	for _, w := range s.server.Watches() {
		is := slices.Contains(pending, w)
		if is == w.News().None() || is != (w.Pending() > 0) {
			s.t.Errorf("%s of %s: pending %t, %d responses, news %q", w, w.Node(), is, w.Pending(), w.Peek())
		}
	}
}

func (s *scheduler) decide(call *held) {
	switch s.rng.IntN(10) {
	case 0:
		s.log("%s %s fails", call.Node(), call)
		s.release(call, simetcd.ErrUnavailable)
	case 1:
		call.Apply()
		s.log("%s %s: %s, reply lost", call.Node(), call, call.Outcome())
		s.release(call, simetcd.ErrUnavailable)
	default:
		call.Apply()
		s.log("%s %s: %s", call.Node(), call, call.Outcome())
		s.release(call, nil)
	}
}

func (s *scheduler) log(format string, args ...any) {
	s.trace = append(s.trace, fmt.Sprintf(format, args...))
}

// compete is a node that claims every task it can, and lets each go after a
// while, until its client is closed.
func compete(ctx context.Context, c *simetcd.Client) {
	for {
		lease, err := c.Grant(ctx, 10)
		switch {
		case err == nil:
			go func() { _, _ = c.KeepAliveOnce(ctx, lease.ID) }()
			follow(ctx, c, lease.ID)
		case ctx.Err() != nil || errors.Is(err, simetcd.ErrClosing):
			return
		}
	}
}

func follow(ctx context.Context, c *simetcd.Client, lease clientv3.LeaseID) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	list, err := c.Get(ctx, "/tasks/", clientv3.WithPrefix())
	if err != nil {
		return
	}
	changes := c.Watch(ctx, "/tasks/", clientv3.WithPrefix(), clientv3.WithRev(list.Header.Revision+1))
	for _, kv := range list.Kvs {
		go claimAndRelease(ctx, c, string(kv.Key), lease)
	}
	for range changes { // until the channel closes
	}
}

func claimAndRelease(ctx context.Context, c *simetcd.Client, task string, lease clientv3.LeaseID) {
	owner := task + "/owner"
	resp, err := c.Txn(ctx).
		If(clientv3.Compare(clientv3.Version(owner), "=", 0)).
		Then(clientv3.OpPut(owner, c.Node(), clientv3.WithLease(lease))).
		Commit()
	if err != nil || !resp.Succeeded {
		return
	}
	_, _ = c.Delete(ctx, owner)
}
