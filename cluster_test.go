package metafora_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
)

// world is a broker with nodes on it, in a bubble of fake time.
type world struct {
	*testing.T
	broker *memory.Broker
	client *memory.Client
	ended  map[*metafora.Consumer]chan error
}

func inBubble(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		f(&world{T: t, broker: b, client: b.Client(), ended: make(map[*metafora.Consumer]chan error)})
	})
}

func (w *world) submit(n int) {
	w.Helper()
	for i := range n {
		if err := w.client.SubmitTask(w.Context(), metafora.NewTask(fmt.Sprintf("t%d", i))); err != nil {
			w.Fatal(err)
		}
	}
}

func (w *world) start(name string, h metafora.HandlerFunc, opts ...metafora.Option) *metafora.Consumer {
	w.Helper()
	return w.run(w.broker.Coordinator(name), h, balance.All(), opts...)
}

func (w *world) run(coord metafora.Coordinator, h metafora.HandlerFunc, b metafora.Balancer, opts ...metafora.Option) *metafora.Consumer {
	w.Helper()
	c, err := metafora.NewConsumer(coord, h, b, opts...)
	if err != nil {
		w.Fatal(err)
	}
	ended := make(chan error, 1)
	w.ended[c] = ended
	go func() { ended <- c.Run(w.Context()) }()
	return c
}

func (w *world) stop(c *metafora.Consumer) {
	w.Helper()
	c.Shutdown()
	if err := <-w.ended[c]; err != nil {
		w.Error(err)
	}
}

func (w *world) want(c *metafora.Consumer, running int) {
	w.Helper()
	synctest.Wait()
	if got := c.Counts().Running; got != running {
		w.Errorf("%v: %d tasks run, want %d", c, got, running)
	}
}

func (w *world) command(node string, cmd metafora.Command) {
	w.Helper()
	if err := w.client.SubmitCommand(w.Context(), node, cmd); err != nil {
		w.Fatal(err)
	}
}

// waitForStop runs until it is asked to stop, then hands over.
func waitForStop(ctx context.Context, _ metafora.Task, stop <-chan struct{}) bool {
	select {
	case <-stop:
	case <-ctx.Done():
	}
	return false
}

func TestEachTaskRunsOnOneNodeAndMovesAtShutdown(t *testing.T) {
	inBubble(t, func(w *world) {
		w.submit(10)
		a := w.start("a", metafora.SimpleHandler(waitForStop))
		w.want(a, 10)
		b := w.start("b", metafora.SimpleHandler(waitForStop))
		w.want(b, 0)
		w.stop(a)
		w.want(b, 10)
		w.stop(b)
	})
}

func TestDeadNodesTasksRunElsewhereOnceItsLeaseEnds(t *testing.T) {
	inBubble(t, func(w *world) {
		w.submit(3)
		a := w.start("a", metafora.SimpleHandler(waitForStop))
		w.want(a, 3)
		b := w.start("b", metafora.SimpleHandler(waitForStop))
		w.broker.Partition("a")
		time.Sleep(11 * time.Second)
		w.want(a, 0)
		w.want(b, 3)
		w.broker.Heal("a")
		w.stop(a)
		w.stop(b)
	})
}

func TestLostClaimEndsTheContextWithItsCause(t *testing.T) {
	inBubble(t, func(w *world) {
		w.submit(1)
		cause := make(chan error, 1)
		a := w.start("a", metafora.SimpleHandler(func(ctx context.Context, _ metafora.Task, _ <-chan struct{}) bool {
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return false
		}))
		w.want(a, 1)
		if err := w.client.DeleteTask(w.Context(), "t0"); err != nil {
			w.Fatal(err)
		}
		if err := <-cause; !errors.Is(err, metafora.ErrNotOwner) {
			w.Errorf("cause %v, want ErrNotOwner", err)
		}
		w.want(a, 0)
		w.stop(a)
	})
}

func TestPanickingHandlerCountsAsDone(t *testing.T) {
	for name, h := range map[string]metafora.HandlerFunc{
		"handler function": func(metafora.Task) metafora.Handler { panic("made up") },
		"nil handler":      func(metafora.Task) metafora.Handler { return nil },
		"run": metafora.SimpleHandler(func(context.Context, metafora.Task, <-chan struct{}) bool {
			panic("made up")
		}),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.submit(2)
				a := w.start("a", h)
				synctest.Wait()
				if ts, err := w.client.Tasks(w.Context()); err != nil || len(ts) > 0 {
					w.Errorf("left: %v %v", ts, err)
				}
				w.stop(a)
			})
		})
	}
}

func TestCommandsFreezeDrainAndStop(t *testing.T) {
	inBubble(t, func(w *world) {
		w.submit(2)
		a := w.start("a", metafora.SimpleHandler(waitForStop))
		w.want(a, 2)
		w.command("a", metafora.Freeze())
		synctest.Wait()
		if err := w.client.SubmitTask(w.Context(), metafora.NewTask("late")); err != nil {
			w.Fatal(err)
		}
		w.want(a, 2)
		w.command("a", metafora.Unfreeze())
		w.want(a, 3)
		w.command("a", metafora.StopTask("late"))
		w.want(a, 2)
		time.Sleep(2 * time.Second) // past the reclaim delay
		w.want(a, 3)
		w.command("a", metafora.Drain())
		time.Sleep(time.Minute)
		w.want(a, 0)
		if !a.Frozen() || !a.Draining() {
			w.Error("a drained node is frozen and draining")
		}
		w.stop(a)
	})
}

func TestHandlerThatIgnoresItsContextIsNamedAndKeepsItsClaim(t *testing.T) {
	inBubble(t, func(w *world) {
		w.submit(1)
		release := make(chan struct{})
		a := w.start("a", metafora.SimpleHandler(func(context.Context, metafora.Task, <-chan struct{}) bool {
			<-release
			return false
		}), metafora.WithDrainTimeout(time.Second), metafora.WithStuckGrace(time.Second))
		w.want(a, 1)
		a.Shutdown()
		if err := <-w.ended[a]; !errors.Is(err, metafora.ErrHandlerStuck) {
			w.Errorf("error %v, want ErrHandlerStuck", err)
		}
		info, err := w.client.Task(w.Context(), "t0")
		if err != nil || info.Owner != "a" {
			w.Errorf("owner %q %v: released while it runs", info.Owner, err)
		}
		close(release)
		time.Sleep(time.Minute)
	})
}

func TestRunAndShutdownInAnyOrder(t *testing.T) {
	inBubble(t, func(w *world) {
		c, err := metafora.NewConsumer(w.broker.Coordinator("a"), metafora.SimpleHandler(waitForStop), balance.All())
		if err != nil {
			w.Fatal(err)
		}
		c.Shutdown()
		c.Shutdown()
		if err := c.Run(w.Context()); err != nil {
			w.Error(err)
		}
		if err := c.Run(w.Context()); err == nil {
			w.Error("a second Run must fail")
		}
		c.Shutdown()
	})
}

func TestOptionsAreChecked(t *testing.T) {
	coord := memory.NewBroker().Coordinator("a")
	h := metafora.SimpleHandler(waitForStop)
	for _, opt := range []metafora.Option{
		metafora.WithClaimsInFlight(0), metafora.WithBalanceInterval(0), metafora.WithDrainTimeout(-1),
		metafora.WithLogger(nil), metafora.WithRetryBackoff(2, 1),
	} {
		if _, err := metafora.NewConsumer(coord, h, balance.All(), opt); err == nil {
			t.Error("a senseless option was accepted")
		}
	}
	if _, err := metafora.NewConsumer(nil, nil, nil); err == nil {
		t.Error("nil parts were accepted")
	}
}
