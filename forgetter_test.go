package metafora_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
)

// remembers is a balancer that notes what it is asked and told of tasks.
type remembers struct {
	fakeBalancer
	until time.Time // it refuses until then
	heard []string
}

func newRemembers(wait time.Duration) *remembers {
	r := &remembers{until: time.Now().Add(wait)}
	r.canClaim = func(t metafora.Task) (time.Time, bool) {
		r.heard = append(r.heard, "ask "+t.ID())
		return r.until, !time.Now().Before(r.until)
	}
	return r
}

func (r *remembers) Forget(id string) { r.heard = append(r.heard, "forget "+id) }

// A task that comes back because its time has come, or after a balance round, is the
// one that the balancer was asked about; one that was announced is not.
func TestBalancerForgetsTaskThatIsAnnouncedAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		b := newRemembers(2 * time.Minute)
		n := start(t, fake, untilStopped, b, never, metafora.WithReclaimDelay(time.Second))
		n.command(metafora.Balance())
		equal(t, "heard", b.heard, []string{"forget a", "ask a", "ask a"})
		pass(time.Minute)
		fake.announce(metafora.NewTask("a"))
		pass(time.Minute)
		equal(t, "heard", b.heard[3:], []string{"forget a", "ask a", "ask a"})
		equal(t, "running", n.ids(), []string{"a"})
		n.command(metafora.StopTask("a"))
		pass(time.Minute)
		equal(t, "heard", b.heard[6:], []string{"forget a", "ask a"})
		equal(t, "running", n.ids(), []string{"a"})
	})
}

// The broker fails the first claim, during which the task is announced again, or not.
func TestBalancerForgetsTaskThatIsAnnouncedDuringItsClaim(t *testing.T) {
	for name, c := range map[string]struct {
		again []metafora.Task
		heard []string
	}{
		"once":  {nil, []string{"forget a", "ask a", "ask a"}},
		"again": {[]metafora.Task{metafora.NewTask("a")}, []string{"forget a", "ask a", "forget a", "ask a"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, refusal := range []error{metafora.ErrClaimed, errMadeUp} {
				if c.again == nil && refusal == metafora.ErrClaimed {
					continue // it does not come back
				}
				synctest.Test(t, func(t *testing.T) {
					fake := newFake()
					let := fake.holdFirstClaim(refusal)
					fake.submit("a")
					b := newRemembers(0)
					n := start(t, fake, untilStopped, b, never)
					fake.announce(c.again...)
					synctest.Wait()
					close(let)
					pass(time.Minute)
					equal(t, "heard", b.heard, c.heard)
					equal(t, "running", n.ids(), []string{"a"})
				})
			}
		})
	}
}

// The node loses the task, without hearing of it, and is offered it while the handler
// of the lost claim still runs.
func TestBalancerForgetsTaskThatIsAnnouncedWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		end := make(chan struct{})
		b := newRemembers(0)
		n := start(t, fake, func(metafora.Task) metafora.Handler {
			return handler{run: func(context.Context) bool { <-end; return true }}
		}, b, never)
		fake.announce(metafora.NewTask("a"))
		synctest.Wait()
		equal(t, "heard", b.heard, []string{"forget a", "ask a"})
		fake.onDone = func(context.Context, metafora.Claim) error {
			fake.takeBack("a")
			return metafora.ErrNotOwner
		}
		end <- struct{}{}
		synctest.Wait()
		equal(t, "heard", b.heard[2:], []string{"forget a", "ask a"})
		equal(t, "running", n.ids(), []string{"a"})
		fake.onDone = nil
		close(end)
	})
}
