package metafora_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
)

// Claims that are won while a shutdown begins are given back, and no handler is
// made for them.
func TestClaimsWonDuringShutdownAreReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		let := make(held)
		fake.onClaim = let.claim("a", "b")
		fake.submit("a", "b")
		made := 0
		n := start(t, fake, func(task metafora.Task) metafora.Handler { made++; return untilStopped(task) }, &fakeBalancer{})
		n.stop()
		pass(time.Second)
		close(let)
		if err := <-n.result; err != nil {
			t.Error(err)
		}
		if made != 0 || fake.count("release a")+fake.count("release b") != 2 {
			t.Errorf("%d handlers made, calls %q", made, fake.log())
		}
		equal(t, "owned", fake.owned(), []string{})
	})
}

// A handler that is being made when the shutdown begins is asked to stop.
func TestHandlerMadeDuringShutdownIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		n := start(t, fake, func(task metafora.Task) metafora.Handler {
			time.Sleep(time.Minute)
			return untilStopped(task)
		}, &fakeBalancer{}, metafora.WithDrainTimeout(time.Hour))
		began := time.Now()
		if err := n.end(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("the shutdown took %v, want a minute", took)
		}
		equal(t, "owned", fake.owned(), []string{})
	})
}

// A handler that ignores Stop has the drain timeout, then its context ends.
func TestContextsEndWhenTheDrainTimeoutHasPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a", "b")
		var w watched
		n := start(t, fake, func(task metafora.Task) metafora.Handler {
			if task.ID() == "b" {
				return untilStopped(task)
			}
			return w.handler(task)
		}, &fakeBalancer{}, metafora.WithDrainTimeout(time.Minute))
		began := time.Now()
		n.stop()
		synctest.Wait()
		equal(t, "owned while the other is waited for", fake.owned(), []string{"a"})
		if err := <-n.result; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("the shutdown took %v, want a minute", took)
		}
		if l := w.lives(); len(l.causes) != 1 || !errors.Is(l.causes[0], metafora.ErrStopped) || l.stops != 1 {
			t.Errorf("handlers saw %+v, want %v and one stop", l, metafora.ErrStopped)
		}
		equal(t, "owned at the end", fake.owned(), []string{})
	})
}

// User code that ends neither for Stop nor for its context is named, its claim
// left to the lease; Run returns all the same, and the others are released.
func TestStuckHandlersAreNamedAndKeepTheirClaims(t *testing.T) {
	for name, stuck := range map[string]struct {
		handler func(end <-chan struct{}) metafora.Handler
		owned   []string
	}{
		"Run":  {func(end <-chan struct{}) metafora.Handler { return blocksRun{end} }, []string{"stuck"}},
		"Stop": {func(end <-chan struct{}) metafora.Handler { return blocksStop{end} }, []string{}},
		"the handler function": {func(end <-chan struct{}) metafora.Handler {
			<-end
			return handler{run: untilDone}
		}, []string{"stuck"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake()
				fake.submit("a", "stuck")
				end := make(chan struct{})
				n := start(t, fake, func(task metafora.Task) metafora.Handler {
					if task.ID() == "stuck" {
						return stuck.handler(end)
					}
					return untilStopped(task)
				}, &fakeBalancer{}, metafora.WithDrainTimeout(time.Minute), metafora.WithStuckGrace(time.Second))
				began := time.Now()
				err := n.end()
				if !errors.Is(err, metafora.ErrHandlerStuck) || !strings.HasSuffix(err.Error(), ": stuck") {
					t.Errorf("error %v, want one that wraps %q and names the task", err, metafora.ErrHandlerStuck)
				}
				if took := time.Since(began); took != time.Minute+time.Second {
					t.Errorf("the shutdown took %v, want a minute and a second", took)
				}
				equal(t, "owned", fake.owned(), stuck.owned)
				close(end)
				synctest.Wait()
				equal(t, "owned once it has ended", fake.owned(), stuck.owned)
				if log := fake.log(); log[len(log)-1] != "close" {
					t.Errorf("the call %q came after Close", log[len(log)-1])
				}
			})
		})
	}
}

type blocksRun struct{ end <-chan struct{} }

func (h blocksRun) Run(context.Context) bool { <-h.end; return false }
func (blocksRun) Stop()                      {}

type blocksStop struct{ end <-chan struct{} }

func (blocksStop) Run(ctx context.Context) bool { return untilDone(ctx) }
func (h blocksStop) Stop()                      { <-h.end }

func TestManyStuckHandlersAreNamedInPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		for i := range 30 {
			fake.submit(fmt.Sprintf("t%02d", i))
		}
		end := make(chan struct{})
		n := start(t, fake, func(metafora.Task) metafora.Handler { return blocksRun{end} }, &fakeBalancer{})
		err := n.end()
		if err == nil || !strings.Contains(err.Error(), ": t00, t01,") || !strings.HasSuffix(err.Error(), "t19 and 10 more") {
			t.Errorf("error %v", err)
		}
		close(end)
	})
}

// A handler that is made after all contexts have ended runs with one that has.
func TestHandlerMadeTooLateHasAnEndedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		var cause error
		n := start(t, fake, func(metafora.Task) metafora.Handler {
			time.Sleep(2 * time.Minute)
			return handler{run: func(ctx context.Context) bool {
				cause = context.Cause(ctx)
				return untilDone(ctx)
			}}
		}, &fakeBalancer{}, metafora.WithDrainTimeout(time.Minute))
		n.command(metafora.Drain())
		pass(time.Hour)
		if !errors.Is(cause, metafora.ErrStopped) {
			t.Errorf("cause %v, want %v", cause, metafora.ErrStopped)
		}
		equal(t, "owned", fake.owned(), []string{})
	})
}

// A broker that has gone does not keep the node from leaving.
func TestShutdownEndsWithoutTheBroker(t *testing.T) {
	for name, broken := range map[string]func(f *fakeCoordinator){
		"release fails":  func(f *fakeCoordinator) { f.onRelease = fails },
		"release hangs":  func(f *fakeCoordinator) { f.onRelease = hangs },
		"done fails":     func(f *fakeCoordinator) { f.onDone = fails },
		"done hangs":     func(f *fakeCoordinator) { f.onDone = hangs },
		"claim hangs":    func(f *fakeCoordinator) { f.onClaim = hangs },
		"claim fails":    func(f *fakeCoordinator) { f.onClaim = fails },
		"cluster hangs":  func(f *fakeCoordinator) { f.onAccepting = hangs },
		"cluster fails":  func(f *fakeCoordinator) { f.onAccepting = fails },
		"all of it, too": func(f *fakeCoordinator) { f.onRelease, f.onDone, f.onAccepting = hangs, hangs, hangs },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake()
				broken(fake)
				fake.submit("done", "released")
				n := start(t, fake, metafora.SimpleHandler(func(_ context.Context, task metafora.Task, stop <-chan struct{}) bool {
					<-stop
					return task.ID() == "done"
				}), &fakeBalancer{}, metafora.WithDrainTimeout(time.Minute), metafora.WithStuckGrace(time.Second))
				began := time.Now()
				if err := n.end(); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > time.Minute+time.Second {
					t.Errorf("the shutdown took %v, want at most a minute and a second", took)
				}
			})
		})
	}
}

func fails[T any](context.Context, T) error { return errMadeUp }

func hangs[T any](ctx context.Context, _ T) error {
	<-ctx.Done()
	return ctx.Err()
}

// A broker that comes back in time is told what became of the tasks.
func TestReleasesAreRepeatedDuringShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a", "b")
		back := time.Now().Add(20 * time.Second)
		fake.onRelease = func(context.Context, metafora.Claim) error {
			if time.Now().Before(back) {
				return errMadeUp
			}
			return nil
		}
		n := start(t, fake, untilStopped, &fakeBalancer{}, metafora.WithRetryBackoff(time.Second, time.Second))
		if err := n.end(); err != nil {
			t.Error(err)
		}
		equal(t, "owned", fake.owned(), []string{})
	})
}

// A node that leaves takes no new tasks and no commands, and does not balance.
func TestNodeThatLeavesOnlyLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		var w watched
		b := newTimedBalancer()
		n := start(t, fake, w.handler, b, metafora.WithDrainTimeout(time.Hour), metafora.WithBalanceInterval(time.Minute))
		n.stop()
		synctest.Wait()
		if !n.Frozen() || !n.Draining() {
			t.Errorf("%v: want it frozen and draining", n)
		}
		fake.submit("b")
		fake.context().ClusterChanged()
		pass(30 * time.Minute)
		if fake.count("claim b") != 0 || len(b.at) != 0 {
			t.Errorf("calls %q, %d balance rounds", fake.log(), len(b.at))
		}
		equal(t, "told", fake.told(), []bool{false})
		if err := <-n.result; err != nil {
			t.Error(err)
		}
	})
}

// A node without tasks leaves before it could help anybody to know.
func TestIdleNodeLeavesWithoutAWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		if err := start(t, fake, untilStopped, &fakeBalancer{}).end(); err != nil {
			t.Error(err)
		}
		equal(t, "told", fake.told(), []bool{})
	})
}

// Those who are drained already have had their time when the shutdown comes.
func TestShutdownOfADrainedNodeGivesNoMoreTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		var w watched
		n := start(t, fake, w.handler, &fakeBalancer{}, metafora.WithDrainTimeout(time.Minute))
		began := time.Now()
		n.command(metafora.Drain())
		pass(50 * time.Second)
		if err := n.end(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("the handler had %v, want a minute", took)
		}
	})
}
