package metafora_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
)

var errMadeUp = errors.New("made up")

func newConsumer(t *testing.T, fake *fakeCoordinator, h metafora.HandlerFunc, opts ...metafora.Option) *metafora.Consumer {
	t.Helper()
	c, err := metafora.NewConsumer(fake, h, &fakeBalancer{}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestShutdownBeforeRunLetsRunCloseAndReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		c := newConsumer(t, fake, untilStopped)
		c.Shutdown()
		c.Shutdown()
		if err := c.Run(t.Context()); err != nil {
			t.Error(err)
		}
		c.Shutdown()
		equal(t, "calls", fake.log(), []string{"close"})
	})
}

func TestRunOfAnEndedContextClosesAndReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := newConsumer(t, fake, untilStopped).Run(ctx); err != nil {
			t.Error(err)
		}
		equal(t, "calls", fake.log(), []string{"close"})
	})
}

func TestConcurrentShutdownsWaitForRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		n := start(t, fake, metafora.SimpleHandler(func(_ context.Context, _ metafora.Task, stop <-chan struct{}) bool {
			<-stop
			time.Sleep(3 * time.Second)
			return false
		}), &fakeBalancer{})
		began := time.Now()
		var all sync.WaitGroup
		for range 5 {
			all.Go(n.Shutdown)
		}
		all.Wait()
		if took := time.Since(began); took < 3*time.Second {
			t.Errorf("Shutdown returned after %v, before the handler had", took)
		}
		if err := <-n.result; err != nil {
			t.Error(err)
		}
	})
}

func TestSecondRunFailsAndDisturbsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		n := start(t, fake, untilStopped, &fakeBalancer{})
		if err := n.Run(t.Context()); err == nil || !strings.Contains(err.Error(), fake.Name()) {
			t.Errorf("second Run: error %v, want one that names the node", err)
		}
		equal(t, "running", n.ids(), []string{"a"})
		if err := n.end(); err != nil {
			t.Error(err)
		}
		if err := n.Run(t.Context()); err == nil {
			t.Error("Run after the end: no error")
		}
		if closes := fake.count("close"); closes != 1 {
			t.Errorf("closed %d times", closes)
		}
	})
}

func TestShutdownDuringInitEndsItGracefully(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.onInit = func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}
		n := start(t, fake, untilStopped, &fakeBalancer{})
		n.Shutdown()
		if err := <-n.result; err != nil {
			t.Error(err)
		}
		equal(t, "calls", fake.log(), []string{"close"})
	})
}

func TestFailedInitEndsRunAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.onInit = func(context.Context) error { return metafora.ErrNodeExists }
		fake.onClose = func() error { return errMadeUp }
		n := start(t, fake, untilStopped, &fakeBalancer{})
		err := <-n.result
		for _, want := range []error{metafora.ErrNodeExists, errMadeUp} {
			if !errors.Is(err, want) {
				t.Errorf("error %v, want one that wraps %q", err, want)
			}
		}
	})
}

func TestWatchThatCannotGoOnEndsRunGracefully(t *testing.T) {
	for name, result := range map[string]error{"error": errMadeUp, "no error": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFake()
				fake.submit("a")
				n := start(t, fake, untilStopped, &fakeBalancer{})
				equal(t, "running", n.ids(), []string{"a"})
				fake.breakWatch <- result
				err := <-n.result
				if err == nil || !strings.Contains(err.Error(), "watch") || (result != nil && !errors.Is(err, result)) {
					t.Errorf("error %v, want one about the watch that wraps %v", err, result)
				}
				equal(t, "owned at the end", fake.owned(), []string{})
			})
		})
	}
}

func TestFailedCloseIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.onClose = func() error { return errMadeUp }
		n := start(t, fake, untilStopped, &fakeBalancer{})
		if err := n.end(); !errors.Is(err, errMadeUp) {
			t.Errorf("error %v, want one that wraps %q", err, errMadeUp)
		}
	})
}

func TestHandlersSeeTheValuesOfRunsContextButNotItsEnd(t *testing.T) {
	type key struct{}
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a")
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
		defer cancel()
		var value any
		var atStop error
		c := newConsumer(t, fake, metafora.SimpleHandler(func(ctx context.Context, _ metafora.Task, stop <-chan struct{}) bool {
			value = ctx.Value(key{})
			<-stop
			time.Sleep(time.Second)
			atStop = ctx.Err()
			return false
		}))
		result := make(chan error)
		go func() { result <- c.Run(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-result; err != nil {
			t.Error(err)
		}
		if value != "value" || atStop != nil {
			t.Errorf("value %v, want it; the context had ended with %v after Stop", value, atStop)
		}
	})
}

func TestBalancerThatPanicsInInitEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		c, err := metafora.NewConsumer(fake, untilStopped, panickyBalancer{})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "made up") {
			t.Errorf("error %v, want one that has the panic", err)
		}
		equal(t, "calls", fake.log(), []string{"close"})
	})
}

type panickyBalancer struct{}

func (panickyBalancer) Init(metafora.BalancerContext)                  { panic(errMadeUp) }
func (panickyBalancer) CanClaim(metafora.Task) (_ time.Time, can bool) { panic(errMadeUp) }
func (panickyBalancer) Balance() []string                              { panic(errMadeUp) }

func TestConsumerThatNeverRunsHoldsNothing(*testing.T) {
	c, err := metafora.NewConsumer(newFake(), untilStopped, &fakeBalancer{})
	if err == nil {
		c.Shutdown()
	}
}
