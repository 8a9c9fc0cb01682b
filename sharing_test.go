package metafora_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
)

// sharing are the balancers that share tasks among nodes.
var sharing = map[string]func(*memory.Coordinator) metafora.Balancer{
	"fair":       func(c *memory.Coordinator) metafora.Balancer { return balance.NewFair(c) },
	"rendezvous": func(c *memory.Coordinator) metafora.Balancer { return balance.NewRendezvous(c) },
}

// startSharing is start with a balancer that shares.
func (w *world) startSharing(name string, b func(*memory.Coordinator) metafora.Balancer) *metafora.Consumer {
	w.Helper()
	coord := w.broker.Coordinator(name)
	return w.run(coord, metafora.SimpleHandler(waitForStop), b(coord), metafora.WithSeed(1))
}

// wantShares fails the test unless each node runs about as many of n tasks, and
// all together run all.
func (w *world) wantShares(n int, nodes ...*metafora.Consumer) {
	w.Helper()
	total, fair := 0, n/len(nodes)
	for _, c := range nodes {
		running := c.Counts().Running
		total += running
		if running < fair*7/10 || running > fair*13/10 {
			w.Errorf("%v: want about %d tasks", c, fair)
		}
	}
	if total != n {
		w.Errorf("%d tasks run, want %d", total, n)
	}
}

// A node that joins has its share soon, not after the next regular round, and one
// that leaves or dies is missed as little. Then nothing moves any more.
func TestNodesThatComeAndGoHaveTheirShareSoon(t *testing.T) {
	for name, b := range sharing {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				const n = 120
				w.submit(n)
				a := w.startSharing("a", b)
				w.want(a, n)
				c := w.startSharing("b", b)
				time.Sleep(20 * time.Second)
				w.wantShares(n, a, c)
				d := w.startSharing("c", b)
				time.Sleep(20 * time.Second)
				w.wantShares(n, a, c, d)

				before := map[*metafora.Consumer][]metafora.RunningTask{a: a.Tasks(), c: c.Tasks(), d: d.Tasks()}
				time.Sleep(time.Hour)
				for node, tasks := range before {
					for i, r := range node.Tasks() {
						if r.Claim != tasks[i].Claim {
							w.Fatalf("%v: task %v was %v an hour ago", node, r.Claim, tasks[i].Claim)
						}
					}
				}

				w.stop(c)
				time.Sleep(20 * time.Second)
				w.wantShares(n, a, d)
				w.broker.Kill("a")
				time.Sleep(40 * time.Second)
				w.wantShares(n, d)
				w.stop(d)
				<-w.ended[a] // killed, it cannot watch
			})
		})
	}
}

// The node that wins the first claim must not go on to win all.
func TestTasksThatTrickleInAreShared(t *testing.T) {
	for name, b := range sharing {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				nodes := []*metafora.Consumer{w.startSharing("a", b), w.startSharing("b", b), w.startSharing("c", b)}
				for i := range 90 {
					if err := w.client.SubmitTask(w.Context(), metafora.NewTask(fmt.Sprint("t", i))); err != nil {
						w.Fatal(err)
					}
					time.Sleep(100 * time.Millisecond)
				}
				time.Sleep(20 * time.Second)
				w.wantShares(90, nodes...)
				for _, c := range nodes {
					w.stop(c)
				}
			})
		})
	}
}
