package metafora_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
)

// held is a hook that lets claims of some tasks wait until they are let go.
type held chan struct{}

func (h held) claim(ids ...string) func(context.Context, metafora.Task) error {
	return func(ctx context.Context, t metafora.Task) error {
		for _, id := range ids {
			if t.ID() == id {
				select {
				case <-h:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return nil
	}
}

func TestClaimsInFlightAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		let := make(held)
		var ids []string
		for i := range 10 {
			ids = append(ids, fmt.Sprintf("t%d", i))
		}
		fake.onClaim = let.claim(ids...)
		fake.submit(ids...)
		n := start(t, fake, untilStopped, &fakeBalancer{}, metafora.WithClaimsInFlight(3))
		if counts := n.Counts(); counts != (metafora.Counts{Claiming: 3}) {
			t.Errorf("counts %+v, want 3 claims in flight", counts)
		}
		let <- struct{}{}
		synctest.Wait()
		if counts := n.Counts(); counts != (metafora.Counts{Claiming: 3, Running: 1}) {
			t.Errorf("counts %+v, want one task running and 3 claims in flight", counts)
		}
		close(let)
		synctest.Wait()
		equal(t, "running", n.ids(), ids)
	})
}

// Those that were put off count as well, however long they have been due.
func TestDeferredTasksWaitForAFreePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		let := make(held)
		fake.onClaim = let.claim("slow", "refused")
		b := newRefuses(map[string]time.Time{"refused": time.Now().Add(time.Second)})
		fake.submit("refused", "slow")
		n := start(t, fake, untilStopped, b, metafora.WithClaimsInFlight(1))
		pass(time.Hour)
		if counts := n.Counts(); counts != (metafora.Counts{Claiming: 1, Deferred: 1}) {
			t.Errorf("counts %+v, want one claim in flight and one task that waits", counts)
		}
		let <- struct{}{}
		pass(0)
		if counts := n.Counts(); counts != (metafora.Counts{Claiming: 1, Running: 1}) {
			t.Errorf("counts %+v, want the other to be claimed now", counts)
		}
		close(let)
	})
}

// A claim that takes long holds up no other task, and no command.
func TestSlowClaimHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		let := make(held)
		fake.onClaim = let.claim("slow")
		fake.submit("slow", "b")
		n := start(t, fake, untilStopped, &fakeBalancer{}, metafora.WithReclaimDelay(time.Hour))
		equal(t, "running", n.ids(), []string{"b"})
		n.command(metafora.StopTask("b"))
		equal(t, "running", n.ids(), []string{})
		close(let)
		synctest.Wait()
		equal(t, "running", n.ids(), []string{"slow"})
	})
}

func TestRefusedClaimsAreNotRepeated(t *testing.T) {
	for _, refusal := range []error{metafora.ErrClaimed, metafora.ErrNoTask} {
		synctest.Test(t, func(t *testing.T) {
			fake := newFake()
			fake.onClaim = func(context.Context, metafora.Task) error { return refusal }
			fake.submit("a")
			n := start(t, fake, untilStopped, &fakeBalancer{})
			pass(24 * time.Hour)
			if claims := fake.count("claim a"); claims != 1 {
				t.Errorf("%v: %d claims, want 1", refusal, claims)
			}
			if counts := n.Counts(); counts != (metafora.Counts{}) {
				t.Errorf("%v: counts %+v, want nothing left", refusal, counts)
			}
			fake.onClaim = nil
			fake.announce(metafora.NewTask("a"))
			synctest.Wait()
			equal(t, "running", n.ids(), []string{"a"})
		})
	}
}

// Failed claims are tried again, less and less often, while others go on.
func TestFailedClaimsAreTriedAgain(t *testing.T) {
	for _, failure := range []error{errMadeUp, metafora.ErrLeaseLost} {
		synctest.Test(t, func(t *testing.T) {
			fake := newFake()
			var healed atomic.Bool
			fake.onClaim = func(_ context.Context, task metafora.Task) error {
				if !healed.Load() && task.ID() == "a" {
					return failure
				}
				return nil
			}
			fake.submit("a", "b")
			n := start(t, fake, untilStopped, &fakeBalancer{}, metafora.WithRetryBackoff(time.Second, 8*time.Second))
			equal(t, "running", n.ids(), []string{"b"})
			equal(t, "waiting", n.ignores(), []string{"a error"})
			pass(10 * time.Minute)
			// Waits of 0.5-1, 1-2, 2-4, then 4-8 seconds.
			if claims := fake.count("claim a"); claims < 75 || claims > 155 {
				t.Errorf("%v: %d claims in ten minutes", failure, claims)
			}
			healed.Store(true)
			pass(8 * time.Second)
			equal(t, "running", n.ids(), []string{"a", "b"})
		})
	}
}

func TestTaskThatIsGoneIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.onClaim = func(context.Context, metafora.Task) error { return errMadeUp }
		fake.submit("a")
		n := start(t, fake, untilStopped, &fakeBalancer{})
		fake.remove("a")
		pass(time.Hour)
		if claims := fake.count("claim a"); claims != 1 {
			t.Errorf("%d claims, want 1", claims)
		}
		if counts := n.Counts(); counts != (metafora.Counts{}) {
			t.Errorf("counts %+v, want nothing left", counts)
		}
	})
}

// holdFirstClaim makes the first claim fail once the channel it returns is closed.
func (f *fakeCoordinator) holdFirstClaim(refusal error) (let chan struct{}) {
	let = make(chan struct{})
	first := true
	f.onClaim = func(context.Context, metafora.Task) error {
		if !first {
			return nil
		}
		first = false
		<-let
		return refusal
	}
	return let
}

// The answer to a claim may be about the task as it was before it was announced
// again: a deletion and a new submission, or an owner that has left.
func TestTaskAnnouncedDuringItsClaimIsConsideredAgain(t *testing.T) {
	for _, refusal := range []error{metafora.ErrClaimed, metafora.ErrNoTask, errMadeUp} {
		synctest.Test(t, func(t *testing.T) {
			fake := newFake()
			let := fake.holdFirstClaim(refusal)
			fake.submit("a")
			var ran []metafora.Task
			n := start(t, fake, func(task metafora.Task) metafora.Handler {
				ran = append(ran, task)
				return untilStopped(task)
			}, &fakeBalancer{})
			again := &described{id: "a", text: "new"}
			fake.announce(metafora.NewTask("a"), again)
			synctest.Wait()
			if claims := fake.count("claim a"); claims != 1 {
				t.Errorf("%d claims while the first is in flight", claims)
			}
			close(let)
			pass(time.Minute)
			equal(t, "running", n.ids(), []string{"a"})
			if len(ran) != 1 || ran[0] != again {
				t.Errorf("%v: ran %v, want the task that was announced last", refusal, ran)
			}
		})
	}
}

// described is a Task that can be told from others of its ID.
type described struct{ id, text string }

func (d *described) ID() string { return d.id }

// A task that was announced again while it ran runs again only if it is there.
func TestTaskAnnouncedWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		end := make(chan bool)
		var ran []metafora.Task
		n := start(t, fake, func(task metafora.Task) metafora.Handler {
			return handler{run: func(context.Context) bool {
				ran = append(ran, task)
				return <-end
			}}
		}, &fakeBalancer{})

		fake.announce(metafora.NewTask("a"))
		synctest.Wait()
		end <- true
		synctest.Wait()
		if claims := fake.count("claim a"); claims != 1 {
			t.Errorf("%d claims, want 1: the task is done", claims)
		}

		fake.submit("a")
		synctest.Wait()
		again := &described{id: "a"}
		fake.announce(again)
		synctest.Wait()
		fake.onDone = func(context.Context, metafora.Claim) error {
			fake.takeBack("a") // deleted and submitted anew while it ran
			return metafora.ErrNotOwner
		}
		end <- true
		synctest.Wait()
		equal(t, "running", n.ids(), []string{"a"})
		if len(ran) != 3 || ran[2] != again {
			t.Errorf("ran %v, want the new submission last", ran)
		}
		fake.onDone = nil
		end <- true
		synctest.Wait()
		if counts := n.Counts(); counts != (metafora.Counts{}) {
			t.Errorf("counts %+v, want nothing left", counts)
		}
	})
}

func TestClosedCoordinatorIsNotAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.onClaim = func(context.Context, metafora.Task) error { return fmt.Errorf("claim: %w", metafora.ErrClosed) }
		fake.submit("a")
		n := start(t, fake, untilStopped, &fakeBalancer{})
		fake.breakWatch <- metafora.ErrClosed
		if err := <-n.result; !errors.Is(err, metafora.ErrClosed) {
			t.Errorf("error %v, want one that wraps %v", err, metafora.ErrClosed)
		}
		if claims := fake.count("claim a"); claims != 1 {
			t.Errorf("%d claims, want 1", claims)
		}
	})
}
