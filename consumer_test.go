package metafora_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/metafora-go/metafora"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a Consumer that runs in a synctest bubble.
type node struct {
	*metafora.Consumer
	fake   *fakeCoordinator
	result chan error
	stop   context.CancelFunc
}

// start runs a Consumer; the test, or else its cleanup, ends it.
func start(t *testing.T, fake *fakeCoordinator, h metafora.HandlerFunc, b metafora.Balancer, opts ...metafora.Option) *node {
	t.Helper()
	opts = append([]metafora.Option{metafora.WithSeed(1)}, opts...)
	c, err := metafora.NewConsumer(fake, h, b, opts...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := &node{Consumer: c, fake: fake, result: make(chan error, 1), stop: cancel}
	go func() { n.result <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		c.Shutdown()
	})
	synctest.Wait()
	return n
}

// end ends the node and returns what Run returned.
func (n *node) end() error {
	n.stop()
	return <-n.result
}

// ids returns the IDs of the running tasks.
func (n *node) ids() []string {
	ids := []string{}
	for _, r := range n.Tasks() {
		ids = append(ids, r.ID())
	}
	return ids
}

// ignores returns the tasks that wait, each with the reason.
func (n *node) ignores() []string {
	waiting := []string{}
	for _, d := range n.Ignores() {
		waiting = append(waiting, d.ID+" "+string(d.Reason))
	}
	return waiting
}

// command has the node handle a command.
func (n *node) command(cmd metafora.Command) {
	n.fake.commands <- fakeCommand{cmd: cmd}
	synctest.Wait()
}

// pass lets time pass, and happen what is due in it.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// untilStopped is a handler that releases its task when it is asked to stop or
// its context ends.
var untilStopped = metafora.SimpleHandler(func(ctx context.Context, _ metafora.Task, stop <-chan struct{}) bool {
	select {
	case <-stop:
	case <-ctx.Done():
	}
	return false
})

func equal[E comparable](t *testing.T, what string, got, want []E) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestNewConsumerNamesWhatIsWrong(t *testing.T) {
	_, err := metafora.NewConsumer(nil, nil, nil, metafora.WithClaimsInFlight(0), metafora.WithLogger(nil))
	for _, want := range []string{"coordinator", "handler", "balancer", "in flight", "logger"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error does not mention %q: %v", want, err)
		}
	}
}

func TestWaitingTasksAreClaimedAndReleasedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		fake.submit("a", "b")
		n := start(t, fake, untilStopped, &fakeBalancer{})
		fake.submit("c")
		synctest.Wait()
		equal(t, "running", n.ids(), []string{"a", "b", "c"})
		if err := n.end(); err != nil {
			t.Fatal(err)
		}
		equal(t, "owned at the end", fake.owned(), []string{})
		if log := fake.log(); log[len(log)-1] != "close" {
			t.Errorf("the last call is %q, want close", log[len(log)-1])
		}
	})
}
