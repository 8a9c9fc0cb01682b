package metafora_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
)

// watched is a handler function whose handlers wait until their context ends,
// linger on, and count what they go through.
type watched struct {
	linger time.Duration

	mu   sync.Mutex // guards all below
	seen lives
}

type lives struct {
	running, most, runs, stops int
	causes                     []error
}

func (w *watched) handler(metafora.Task) metafora.Handler {
	return handler{run: w.run, stop: func() { w.note(func(l *lives) { l.stops++ }) }}
}

func (w *watched) run(ctx context.Context) bool {
	w.note(func(l *lives) {
		l.runs++
		l.running++
		l.most = max(l.most, l.running)
	})
	<-ctx.Done()
	w.note(func(l *lives) { l.causes = append(l.causes, context.Cause(ctx)) })
	time.Sleep(w.linger)
	w.note(func(l *lives) { l.running-- })
	return false
}

func (w *watched) note(what func(*lives)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	what(&w.seen)
}

// lives returns what the handlers went through so far.
func (w *watched) lives() (l lives) {
	w.note(func(now *lives) { l = *now })
	return l
}

func TestStopOfALostClaimFindsItsContextEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		var ids []string
		for i := range 200 {
			ids = append(ids, fmt.Sprint(i))
		}
		fake.submit(ids...)
		var alive atomic.Int32
		start(t, fake, func(metafora.Task) metafora.Handler {
			ctxs := make(chan context.Context, 1)
			return handler{
				run: func(ctx context.Context) bool {
					ctxs <- ctx
					<-ctx.Done()
					return false
				},
				stop: func() {
					if ctx := <-ctxs; ctx.Err() == nil {
						alive.Add(1)
					}
				},
			}
		}, &fakeBalancer{})
		for _, id := range ids {
			fake.context().Lost(fake.takeBack(id), metafora.ErrLeaseLost)
		}
		synctest.Wait()
		if n := alive.Load(); n > 0 {
			t.Errorf("%d of %d handlers were told to stop while their context lasted", n, len(ids))
		}
	})
}

func TestLostClaimEndsTheContextAtOnce(t *testing.T) {
	for _, cause := range []error{metafora.ErrLeaseLost, metafora.ErrNotOwner} {
		synctest.Test(t, func(t *testing.T) {
			fake := newFake()
			fake.submit("a", "b")
			w := &watched{linger: time.Second}
			seen := &recorder{}
			n := start(t, fake, w.handler, &fakeBalancer{}, metafora.WithObserver(seen))
			lost := fake.takeBack("a")
			fake.context().Lost(lost, cause)
			synctest.Wait()
			if l := w.lives(); len(l.causes) != 1 || !errors.Is(l.causes[0], cause) || l.stops != 1 {
				t.Errorf("handlers saw %+v, want %v and one stop", l, cause)
			}
			// It runs on for a moment, and says so.
			equal(t, "running", n.ids(), []string{"a", "b"})
			if r := n.Tasks()[0]; r.Lost.IsZero() || r.Stopped.IsZero() || r.Claim != lost {
				t.Errorf("running task %+v, want it lost and stopped", r)
			}
			pass(w.linger)
			equal(t, "running", n.ids(), []string{"b"})
			if counts := n.Counts(); counts != (metafora.Counts{Running: 1}) {
				t.Errorf("counts %+v", counts)
			}
			if got := count(seen.events(), "lost a"); got != 1 {
				t.Errorf("told %d times that it is lost", got)
			}
		})
	}
}

func count(all []string, one string) (n int) {
	for _, s := range all {
		if s == one {
			n++
		}
	}
	return n
}

// A node under load misses a renewal; then its own watch offers the task that it
// still runs. It neither runs it twice nor forgets it.
func TestTaskAnnouncedWhileItsHandlerLingersRunsAfterwards(t *testing.T) {
	for name, announceFirst := range map[string]bool{"lost, then announced": false, "announced, then lost": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake()
				fake.submit("a")
				w := &watched{linger: time.Minute}
				n := start(t, fake, w.handler, &fakeBalancer{}, metafora.WithDrainTimeout(0), metafora.WithStuckGrace(time.Hour))
				lost := fake.takeBack("a")
				if announceFirst {
					fake.announce(metafora.NewTask("a"))
					synctest.Wait()
				}
				fake.context().Lost(lost, metafora.ErrLeaseLost)
				fake.announce(metafora.NewTask("a"), metafora.NewTask("a"))
				synctest.Wait()
				pass(30 * time.Second)
				if claims := fake.count("claim a"); claims != 1 || w.lives().runs != 1 {
					t.Errorf("%d claims and %d runs while the first handler lingers, want 1", claims, w.lives().runs)
				}
				pass(31 * time.Second)
				if l := w.lives(); l.runs != 2 || l.most != 1 {
					t.Errorf("%d runs, %d at once, want 2 one after the other", l.runs, l.most)
				}
				if claim := n.Tasks()[0].Claim; claim.Fence <= lost.Fence {
					t.Errorf("fence %d after fence %d", claim.Fence, lost.Fence)
				}
			})
		})
	}
}

// Another node takes the task while the handler lingers: it is left alone.
func TestTaskThatAnotherNodeTookMeanwhileIsNotClaimed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		w := &watched{linger: time.Minute}
		n := start(t, fake, w.handler, &fakeBalancer{})
		fake.context().Lost(fake.takeBack("a"), metafora.ErrLeaseLost)
		fake.announce(metafora.NewTask("a"))
		synctest.Wait()
		fake.giveAway("a")
		pass(time.Hour)
		if claims := fake.count("claim a"); claims != 1 {
			t.Errorf("%d claims, want 1", claims)
		}
		equal(t, "owned", fake.owned(), []string{"a"})
		if counts := n.Counts(); counts != (metafora.Counts{}) {
			t.Errorf("counts %+v, want nothing left", counts)
		}
	})
}

func TestLateLossOfAnEarlierClaimTouchesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		var w watched
		n := start(t, fake, w.handler, &fakeBalancer{}, metafora.WithReclaimDelay(0), metafora.WithDrainTimeout(0))
		old := fake.takeBack("a")
		fake.context().Lost(old, metafora.ErrNotOwner)
		fake.announce(metafora.NewTask("a"))
		synctest.Wait()
		for _, late := range []metafora.Claim{old, {TaskID: "a", Node: "node"}, {TaskID: "ghost", Node: "node", Fence: 9}} {
			fake.context().Lost(late, metafora.ErrNotOwner)
		}
		synctest.Wait()
		equal(t, "running", n.ids(), []string{"a"})
		if l := w.lives(); l.runs != 2 || len(l.causes) != 1 {
			t.Errorf("handlers saw %+v, want 2 runs of which 1 has ended", l)
		}
	})
}

// A loss may come before Claim has returned, or while the handler is made.
func TestClaimLostBeforeItsHandlerRuns(t *testing.T) {
	t.Run("before the handler is made", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			fake := newFake()
			fake.submit("a")
			fake.afterClaim = func(c metafora.Claim) {
				fake.takeBack(c.TaskID)
				fake.context().Lost(metafora.Claim{TaskID: "a", Node: "node"}, metafora.ErrNotOwner)
				fake.context().Lost(c, metafora.ErrLeaseLost)
			}
			made := 0
			n := start(t, fake, func(metafora.Task) metafora.Handler { made++; return handler{run: untilDone} }, &fakeBalancer{})
			if made != 0 {
				t.Error("a handler was made for a claim that was lost")
			}
			equal(t, "running", n.ids(), []string{})
		})
	})
	t.Run("while the handler is made", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			fake := newFake()
			fake.submit("a")
			var cause error
			n := start(t, fake, func(metafora.Task) metafora.Handler {
				fake.context().Lost(fake.takeBack("a"), metafora.ErrLeaseLost)
				return handler{run: func(ctx context.Context) bool {
					cause = context.Cause(ctx)
					return untilDone(ctx)
				}}
			}, &fakeBalancer{})
			if !errors.Is(cause, metafora.ErrLeaseLost) {
				t.Errorf("the handler's context began with the cause %v, want %v", cause, metafora.ErrLeaseLost)
			}
			equal(t, "running", n.ids(), []string{})
		})
	})
}

// The task is announced again even before Claim has returned: it runs in the end.
func TestTaskLostAndAnnouncedDuringItsClaimRunsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		first := true
		fake.afterClaim = func(c metafora.Claim) {
			if !first {
				return
			}
			first = false
			fake.takeBack(c.TaskID)
			fake.context().Lost(c, metafora.ErrLeaseLost)
			fake.announce(metafora.NewTask("a"))
			time.Sleep(time.Second)
		}
		n := start(t, fake, untilStopped, &fakeBalancer{})
		pass(time.Minute)
		equal(t, "running", n.ids(), []string{"a"})
	})
}

// Once the handler has returned, the Observer hears how the claim ended from the
// call that hands it back.
func TestLossAfterTheHandlerReturnedIsNotReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		seen := &recorder{}
		fake.onDone = func(_ context.Context, c metafora.Claim) error {
			fake.context().Lost(c, metafora.ErrNotOwner)
			return metafora.ErrNotOwner
		}
		start(t, fake, metafora.SimpleHandler(func(context.Context, metafora.Task, <-chan struct{}) bool { return true }),
			&fakeBalancer{}, metafora.WithObserver(seen))
		if slices.Contains(seen.events(), "lost a") {
			t.Errorf("events %q: lost while no handler ran", seen.events())
		}
	})
}

// A handler whose claim is lost has its say: the task need not wait for the
// lease to end if the broker still takes the claim for the current one.
func TestLostClaimIsHandedBackWhereItIsStillCurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		var w watched
		n := start(t, fake, w.handler, &fakeBalancer{}, metafora.WithReclaimDelay(time.Hour))
		fake.context().Lost(n.Tasks()[0].Claim, metafora.ErrLeaseLost)
		synctest.Wait()
		if releases := fake.count("release a"); releases != 1 {
			t.Errorf("%d releases, want 1", releases)
		}
		equal(t, "owned", fake.owned(), []string{})
	})
}
