package metafora_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
)

// handler is a Handler made of two functions.
type handler struct {
	run  func(context.Context) bool
	stop func()
}

func (h handler) Run(ctx context.Context) bool { return h.run(ctx) }

func (h handler) Stop() {
	if h.stop != nil {
		h.stop()
	}
}

// untilDone waits for the end of its context.
func untilDone(ctx context.Context) bool {
	<-ctx.Done()
	return false
}

// Whatever user code does, the node goes on, the task is done, and no claim is
// left without a handler.
func TestHandlerThatDoesNotReturnCountsAsDone(t *testing.T) {
	for name, h := range map[string]metafora.HandlerFunc{
		"function panics":     func(metafora.Task) metafora.Handler { panic(errMadeUp) },
		"function exits":      func(metafora.Task) metafora.Handler { runtime.Goexit(); return nil },
		"function makes none": func(metafora.Task) metafora.Handler { return nil },
		"run panics":          func(metafora.Task) metafora.Handler { return handler{run: func(context.Context) bool { panic(nil) }} },
		"run exits": func(metafora.Task) metafora.Handler {
			return handler{run: func(context.Context) bool { runtime.Goexit(); return false }}
		},
		"handler is a nil pointer": func(metafora.Task) metafora.Handler { return (*handler)(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake()
				fake.submit("bad", "worse")
				n := start(t, fake, func(task metafora.Task) metafora.Handler {
					if task.ID() == "good" {
						return handler{run: untilDone}
					}
					return h(task)
				}, &fakeBalancer{}, metafora.WithDrainTimeout(time.Second))
				fake.submit("good")
				synctest.Wait()
				equal(t, "running", n.ids(), []string{"good"})
				equal(t, "owned", fake.owned(), []string{"good"})
				if fake.count("done bad") != 1 || fake.count("done worse") != 1 {
					t.Errorf("calls %q, want each bad task done once", fake.log())
				}
				if counts := n.Counts(); counts != (metafora.Counts{Running: 1}) {
					t.Errorf("counts %+v", counts)
				}
				if err := n.end(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A Stop that panics, or ends its goroutine, is over, and can be asked for again.
func TestStopThatDoesNotReturnHoldsUpNothing(t *testing.T) {
	for name, end := range map[string]func(){"panics": func() { panic(errMadeUp) }, "exits": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake()
				fake.submit("a")
				stops := 0
				stopped := make(chan struct{}, 2)
				n := start(t, fake, func(metafora.Task) metafora.Handler {
					return handler{
						run: func(context.Context) bool { <-stopped; <-stopped; return false },
						stop: func() {
							stops++
							stopped <- struct{}{}
							end()
						},
					}
				}, &fakeBalancer{})
				for range 2 {
					n.command(metafora.StopTask("a"))
				}
				if stops != 2 {
					t.Errorf("stopped %d times, want 2", stops)
				}
				equal(t, "running", n.ids(), []string{})
				began := time.Now()
				if err := n.end(); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("the shutdown took %v", took)
				}
			})
		})
	}
}

// Calls of Stop are serialised; what is asked for during one makes one more.
func TestStopsAreSerialised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		var under, total, overlapped atomic.Int64
		n := start(t, fake, func(metafora.Task) metafora.Handler {
			return handler{run: untilDone, stop: func() {
				if under.Add(1) > 1 {
					overlapped.Add(1)
				}
				total.Add(1)
				time.Sleep(time.Second)
				under.Add(-1)
			}}
		}, &fakeBalancer{}, metafora.WithDrainTimeout(time.Minute))
		for range 4 {
			n.command(metafora.StopTask("a"))
		}
		pass(10 * time.Second)
		if total.Load() != 2 || overlapped.Load() != 0 {
			t.Errorf("%d calls, %d of them overlapped, want 2 and none", total.Load(), overlapped.Load())
		}
		if err := n.end(); err != nil {
			t.Error(err)
		}
	})
}

func TestHandlersContextHasTheClaimAndEndsWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		var kept context.Context
		n := start(t, fake, metafora.SimpleHandler(func(ctx context.Context, _ metafora.Task, stop <-chan struct{}) bool {
			kept = ctx
			<-stop
			return true
		}), &fakeBalancer{})
		claim, ok := metafora.ClaimFromContext(kept)
		if want := (metafora.Claim{TaskID: "a", Node: "node", Fence: 1}); !ok || claim != want {
			t.Errorf("claim %v %t, want %v", claim, ok, want)
		}
		if deadline, ok := metafora.LeaseDeadline(kept); !ok || !deadline.Equal(fake.LeaseDeadline()) {
			t.Errorf("deadline %v %t", deadline, ok)
		}
		if kept.Err() != nil {
			t.Error("the context has ended while the handler runs")
		}
		n.command(metafora.StopTask("a"))
		if kept.Err() == nil {
			t.Error("the context has not ended although the handler has returned")
		}
	})
}

// A broker that fails at the end of a task is asked again until it answers; the
// task is neither run again here nor given up meanwhile.
func TestHandBackIsRepeatedUntilTheBrokerAnswers(t *testing.T) {
	for what, verdict := range map[string]bool{"release": false, "done": true} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake()
				fake.submit("a")
				left := 5
				fail := func(context.Context, metafora.Claim) error {
					if left--; left >= 0 {
						return errMadeUp
					}
					return nil
				}
				fake.onRelease, fake.onDone = fail, fail
				runs := 0
				n := start(t, fake, metafora.SimpleHandler(func(context.Context, metafora.Task, <-chan struct{}) bool {
					runs++
					return verdict
				}), &fakeBalancer{}, metafora.WithReclaimDelay(time.Hour))
				fake.announce(metafora.NewTask("a")) // as a watch that lists again might
				synctest.Wait()
				if counts := n.Counts(); counts.Settling != 1 || counts.Running != 0 {
					t.Errorf("counts %+v, want one task settling", counts)
				}
				equal(t, "running", n.ids(), []string{})
				pass(time.Minute)
				if calls := fake.count(what + " a"); calls != 6 || runs != 1 {
					t.Errorf("%d calls, %d runs, want 6 calls and 1 run", calls, runs)
				}
				if counts := n.Counts(); counts.Settling != 0 {
					t.Errorf("counts %+v, want none settling", counts)
				}
			})
		})
	}
}

// There is nothing left to hand back when the broker says so.
func TestHandBackEndsWhenTheClaimHas(t *testing.T) {
	for _, cause := range []error{metafora.ErrNotOwner, metafora.ErrNoTask, metafora.ErrLeaseLost} {
		synctest.Test(t, func(t *testing.T) {
			fake := newFake()
			fake.submit("a")
			fake.onDone = func(context.Context, metafora.Claim) error { return cause }
			seen := &recorder{}
			n := start(t, fake, metafora.SimpleHandler(func(context.Context, metafora.Task, <-chan struct{}) bool {
				return true
			}), &fakeBalancer{}, metafora.WithObserver(seen))
			pass(time.Hour)
			if calls := fake.count("done a"); calls != 1 {
				t.Errorf("%v: %d calls, want 1", cause, calls)
			}
			if counts := n.Counts(); counts != (metafora.Counts{}) {
				t.Errorf("%v: counts %+v", cause, counts)
			}
			if slices.ContainsFunc(seen.events(), func(e string) bool { return e == "done a" }) {
				t.Errorf("%v: reported as done", cause)
			}
		})
	}
}

func TestReleasedTaskIsLeftToOthersForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		var runs []time.Duration
		began := time.Now()
		n := start(t, fake, metafora.SimpleHandler(func(context.Context, metafora.Task, <-chan struct{}) bool {
			runs = append(runs, time.Since(began))
			return false
		}), &fakeBalancer{}, metafora.WithReclaimDelay(10*time.Second))
		equal(t, "waiting", n.ignores(), []string{"a released"})
		pass(25 * time.Second)
		equal(t, "runs", runs, []time.Duration{0, 10 * time.Second, 20 * time.Second})
		fake.giveAway("a")
		pass(time.Minute)
		if claims := fake.count("claim a"); claims != 3 {
			t.Errorf("%d claims, want 3: another node has taken the task", claims)
		}
		if err := n.end(); err != nil {
			t.Error(err)
		}
	})
}

// A panic is told to the Observer with the claim, the value and the stack.
func TestPanicsAreObserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		seen := &recorder{}
		start(t, fake, func(metafora.Task) metafora.Handler {
			return handler{run: func(context.Context) bool { panic(errMadeUp) }}
		}, &fakeBalancer{}, metafora.WithObserver(seen))
		equal(t, "events", seen.events(), []string{"claimed a won", "running a", "panicked a", "returned a true", "done a"})
		if value := seen.panicked.Load(); !errors.Is(value.(error), errMadeUp) {
			t.Errorf("panic value %v", value)
		}
	})
}
