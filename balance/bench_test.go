package balance_test

import (
	"fmt"
	"testing"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/balance"
)

// still is a cluster of equal nodes in which nothing changes.
type still struct {
	nodes []metafora.Node
	each  int
}

func (s *still) Nodes() []metafora.Node { return s.nodes }

func (s *still) NodeTaskCount(string) int { return s.each }

func newStill(nodes, each int, weight func(i int) float64) *still {
	s := &still{each: each}
	for i := range nodes {
		s.nodes = append(s.nodes, metafora.Node{Name: fmt.Sprintf("node-%03d", i), Accepting: true, Weight: weight(i)})
	}
	return s
}

// busy is a node with many tasks.
type busy []metafora.RunningTask

func (busy) Node() string { return "node-000" }

func (b busy) Count() int { return len(b) }

func (b busy) Tasks() []metafora.RunningTask { return b }

func newBusy(tasks int) busy {
	var b busy
	for i := range tasks {
		b = append(b, metafora.RunningTask{Task: metafora.NewTask(fmt.Sprintf("task-%d", i))})
	}
	return b
}

func BenchmarkCanClaim(b *testing.B) {
	equal := func(int) float64 { return 1 }
	weighted := func(i int) float64 { return float64(1 + i%3) }
	for _, c := range []struct {
		name  string
		nodes int
		make  func(nodes int) metafora.Balancer
	}{
		{"rendezvous", 16, func(n int) metafora.Balancer { return balance.NewRendezvous(newStill(n, 500, equal)) }},
		{"rendezvous", 200, func(n int) metafora.Balancer { return balance.NewRendezvous(newStill(n, 500, equal)) }},
		{"rendezvous weighted", 200, func(n int) metafora.Balancer { return balance.NewRendezvous(newStill(n, 500, weighted)) }},
		{"fair", 16, func(n int) metafora.Balancer { return balance.NewFair(newStill(n, 500, equal)) }},
		{"fair", 200, func(n int) metafora.Balancer { return balance.NewFair(newStill(n, 500, equal)) }},
	} {
		b.Run(fmt.Sprintf("%s, %d nodes", c.name, c.nodes), func(b *testing.B) {
			balancer := c.make(c.nodes)
			balancer.Init(newBusy(500))
			tasks := newBusy(100_000)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				balancer.CanClaim(tasks[i%len(tasks)].Task)
			}
		})
	}
}

func BenchmarkBalance(b *testing.B) {
	equal := func(int) float64 { return 1 }
	for _, c := range []struct {
		name        string
		tasks, each int
	}{
		{"at equal load", 500, 500},
		{"with 400 too many", 900, 500},
	} {
		b.Run(fmt.Sprintf("rendezvous, 200 nodes, 100000 tasks, %s", c.name), func(b *testing.B) {
			node := newBusy(c.tasks)
			for b.Loop() {
				// A new one each time, as one that has released pauses.
				balancer := balance.NewRendezvous(newStill(200, c.each, equal))
				balancer.Init(node)
				balancer.Balance()
			}
		})
	}
}
