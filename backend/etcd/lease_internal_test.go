package etcd

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/simtest/simetcd"
)

type toldLosses chan metafora.Claim

func (l toldLosses) Lost(c metafora.Claim, _ error) { l <- c }
func (toldLosses) ClusterChanged()                  {}

// A suspended machine's monotonic clock stands still, its timers too. What tells
// is the other clock, and no timer for the lease's end has fired.
func TestHandlersAreToldAfterTheMachineWasSuspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := simetcd.NewServer()
		defer server.Close()
		c, err := NewCoordinator(server.Client("a", nil), "a", Options{TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		lost := make(toldLosses, 1)
		if err := c.Init(t.Context(), lost); err != nil {
			t.Fatal(err)
		}
		client, err := NewClient(server.Client("client", nil), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.SubmitTask(t.Context(), metafora.NewTask("t")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		claim, err := c.Claim(t.Context(), metafora.NewTask("t"))
		if err != nil {
			t.Fatal(err)
		}
		s := c.session.Load()
		suspended := *s.renew.Load()
		suspended.wall = suspended.wall.Add(-time.Hour)
		s.renew.Store(&suspended)
		woken := time.Now()
		if err := s.alive(); err == nil {
			t.Error("the session is alive an hour later")
		}
		if got := <-lost; got != claim {
			t.Errorf("lost %v, want %v", got, claim)
		}
		if after := time.Since(woken); after > clockCheck {
			t.Errorf("told after %v", after)
		}
	})
}
