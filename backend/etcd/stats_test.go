package etcd_test

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/simtest/simetcd"
)

func TestStatsCountClaims(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a, b := s.node("a", etcd.Options{}), s.node("b", etcd.Options{})
		s.submit("t1", "t2", "t3")
		a.claimed("t1", "t2")
		a.announced() // let the watches catch up
		if _, err := b.Claim(t.Context(), metafora.NewTask("t1")); !errors.Is(err, metafora.ErrClaimed) {
			t.Errorf("claim of an owned task: %v", err)
		}
		b.conn.Disconnect()
		a.claimed("t3")
		calls := make(chan error)
		go func() {
			_, err := b.Claim(t.Context(), metafora.NewTask("t3"))
			calls <- err
		}()
		after(0)
		b.conn.Reconnect()
		if err := <-calls; !errors.Is(err, metafora.ErrClaimed) {
			t.Errorf("claim that came too late: %v", err)
		}
		got := a.Stats()
		if got.ClaimsTried != 3 || got.ClaimsWon != 3 || got.ClaimsLost != 0 || got.ClaimsRefused != 0 {
			t.Errorf("a: %+v", got)
		}
		if got.Tasks != 3 || got.Owned != 3 || got.Claims != 3 || got.Waiting != 0 || got.Strays != 0 {
			t.Errorf("a: %+v", got)
		}
		got = b.Stats()
		if got.ClaimsTried != 2 || got.ClaimsWon != 0 || got.ClaimsRefused != 1 || got.ClaimsLost != 1 {
			t.Errorf("b: %+v", got)
		}
	})
}

func TestStatsCountTransactions(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a := s.node("a", etcd.Options{})
		joined := a.Stats()
		if joined.Transactions != 1 || joined.Operations != 1 || joined.Lists != 3 {
			t.Errorf("after Init: %+v", joined)
		}
		s.submit("t")
		a.gate.next(1, simetcd.KindTxn, failed)
		a.claimed("t")
		got := a.Stats()
		if got.Transactions != 3 || got.TransactionFailures != 1 || got.Operations != 3 {
			t.Errorf("after a claim at the second attempt: %+v", got)
		}
		want := map[int]int64{1: 3, 2: 0, 4: 0, 8: 0, 16: 0, 32: 0, 64: 0, 128: 0}
		if !maps.Equal(got.GroupSizes, want) {
			t.Errorf("group sizes %v, want %v", got.GroupSizes, want)
		}
	})
}

func TestStatsTellOfTheLease(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a := s.node("a", etcd.Options{TTL: 10 * time.Second, Margin: time.Second})
		after(time.Second)
		if got := a.Stats(); got.Renewals != 0 || got.RenewalAge != time.Second {
			t.Errorf("a second after Init: %+v", got)
		}
		after(5 * time.Second) // renewed every three seconds
		if got := a.Stats(); got.Renewals != 2 || got.RenewalFailures != 0 || got.RenewalAge != 0 {
			t.Errorf("after six seconds: %+v", got)
		}
		s.submit("t")
		a.claimed("t")
		a.gate.set(func(_ context.Context, c *simetcd.Call) error {
			if c.Kind() == simetcd.KindKeepAlive {
				return simetcd.ErrUnavailable
			}
			return nil
		})
		after(10 * time.Second)
		got := a.Stats()
		if got.RenewalFailures == 0 || got.LeasesLost != 1 || got.Claims != 0 || got.Strays != 1 {
			t.Errorf("after the lease was lost: %+v", got)
		}
	})
}
