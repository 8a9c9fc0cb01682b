package memory_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
)

// greedy is a node that claims what it hears of until it has its share.
type greedy struct {
	c     *memory.Coordinator
	done  sync.WaitGroup
	stop  context.CancelFunc
	owned []metafora.Claim // read once done
}

func (g *greedy) Lost(metafora.Claim, error) {}
func (g *greedy) ClusterChanged()            {}

func startGreedy(b *testing.B, c *memory.Coordinator, share int, claimed chan<- struct{}) *greedy {
	b.Helper()
	g := &greedy{c: c}
	if err := c.Init(b.Context(), g); err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	g.stop = stop
	tasks := make(chan metafora.Task)
	g.done.Go(func() { c.Watch(ctx, tasks); close(tasks) })
	g.done.Go(func() {
		for t := range tasks {
			if len(g.owned) >= share || !c.Claimable(t.ID()) {
				continue
			}
			if claim, err := c.Claim(ctx, t); err == nil {
				g.owned = append(g.owned, claim)
				claimed <- struct{}{}
			}
		}
	})
	return g
}

// halt makes the node claim no more.
func (g *greedy) halt() {
	g.stop()
	g.done.Wait()
}

// leave releases everything and returns how many tasks that were.
func (g *greedy) leave(b *testing.B) int {
	b.Helper()
	g.halt()
	for _, claim := range g.owned {
		if err := g.c.Release(b.Context(), claim); err != nil {
			b.Fatal(err)
		}
	}
	if err := g.c.Close(); err != nil {
		b.Fatal(err)
	}
	return len(g.owned)
}

// BenchmarkRollingRestart restarts 200 nodes with 20,000 tasks one after the
// other: all others hear of each task that a node released, and take it over.
func BenchmarkRollingRestart(b *testing.B) {
	const nodes, tasks, share = 200, 20_000, 120
	for b.Loop() {
		broker := memory.NewBroker()
		ts := make([]metafora.Task, tasks)
		for i := range ts {
			ts[i] = metafora.NewTask(fmt.Sprint("t", i))
		}
		if err := broker.Client().SubmitTasks(b.Context(), ts); err != nil {
			b.Fatal(err)
		}
		claimed := make(chan struct{})
		awaitClaims := func(n int) {
			for range n {
				<-claimed
			}
		}
		running := make([]*greedy, nodes)
		for i := range running {
			running[i] = startGreedy(b, broker.Coordinator(fmt.Sprint("n", i)), share, claimed)
		}
		awaitClaims(tasks)
		for i, g := range running {
			released := g.leave(b)
			running[i] = startGreedy(b, broker.Coordinator(g.c.Name()), share, claimed)
			awaitClaims(released)
		}
		for _, g := range running {
			g.halt()
		}
		for _, g := range running {
			g.leave(b)
		}
	}
}
