package balance_test

import (
	"fmt"
	"math"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/balance"
)

// snapshot is a cluster of any size in which nothing happens while all nodes balance
// once.
type snapshot struct {
	nodes []metafora.Node
	loads map[string]int
}

func (s *snapshot) Nodes() []metafora.Node { return s.nodes }

func (s *snapshot) NodeTaskCount(node string) int { return s.loads[node] }

// holder is a node of a snapshot.
type holder struct {
	name  string
	tasks []metafora.RunningTask
}

func (h holder) Node() string { return h.name }

func (h holder) Count() int { return len(h.tasks) }

func (h holder) Tasks() []metafora.RunningTask { return h.tasks }

const mostTasks = 100_000

// manyTasks are dealt to the nodes of all snapshots.
var manyTasks = sync.OnceValue(func() []metafora.RunningTask { return newBusy(mostTasks) })

// drawSnapshot draws a cluster of up to 200 nodes and 100,000 tasks, some of the
// nodes frozen.
func drawSnapshot(t *rapid.T) (*snapshot, []holder) {
	s := &snapshot{loads: make(map[string]int)}
	var holders []holder
	count := rapid.IntRange(1, 200).Draw(t, "nodes")
	average := rapid.IntRange(0, mostTasks/count).Draw(t, "average load")
	weights := rapid.SampledFrom([][]float64{{1}, {0, 0.5, 1, 3}}).Draw(t, "weights")
	skews := rapid.SampledFrom([][]float64{{1}, {0.8, 1, 1.2}, {0, 1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 5}, {0, 1, 2}}).Draw(t, "skews")
	frozen := rapid.SampledFrom([]int{1, 10}).Draw(t, "one in so many accepts")
	tasks := manyTasks()
	for i := range count {
		n := metafora.Node{
			Name:      fmt.Sprintf("node-%03d", i),
			Weight:    rapid.SampledFrom(weights).Draw(t, "weight"),
			Accepting: frozen == 1 || rapid.IntRange(0, frozen-1).Draw(t, "accepts") > 0,
		}
		load := float64(average) * rapid.SampledFrom(skews).Draw(t, "skew")
		load *= rapid.Float64Range(0.9, 1.1).Draw(t, "noise")
		own := min(int(math.Round(load)), len(tasks))
		holders = append(holders, holder{n.Name, tasks[:own:own]})
		tasks = tasks[own:]
		s.nodes, s.loads[n.Name] = append(s.nodes, n), own
	}
	return s, holders
}

// share returns the fair share of a node that accepts tasks.
func (s *snapshot) share(n metafora.Node) float64 {
	total, weights := 0, 0.0
	for _, o := range s.nodes {
		if o.Accepting {
			total += s.loads[o.Name]
			weights += weightOf(o)
		}
	}
	return float64(total) * weightOf(n) / weights
}

// need returns how many tasks the nodes above a limit have to give for a load of at
// most goal, and how many those below another lack. All are times the fair share.
func (s *snapshot) need(above, goal, below float64) (over, lack int) {
	for _, n := range s.nodes {
		if !n.Accepting {
			continue
		}
		share, load := s.share(n), s.loads[n.Name]
		if load > int(math.Ceil(above*share-1e-9)) {
			over += load - int(math.Ceil(goal*share-1e-9))
		}
		if float64(load) < below*share {
			lack += max(0, int(share+1e-9)-load)
		}
	}
	return over, lack
}

// balanceOnce makes all nodes balance once and checks what they release.
func balanceOnce(t *rapid.T, s *snapshot, holders []holder, balancer func(metafora.ClusterState) metafora.Balancer) (released int) {
	for i, h := range holders {
		b := balancer(s)
		b.Init(h)
		ids := b.Balance()
		released += len(ids)
		owned := make(map[string]bool, len(h.tasks))
		for _, task := range h.tasks {
			owned[task.ID()] = true
		}
		for _, id := range ids {
			if !owned[id] {
				t.Fatalf("%s releases %s, which it does not have or has listed before", h.name, id)
			}
			delete(owned, id)
		}
		if !s.nodes[i].Accepting {
			if len(ids) > 0 {
				t.Errorf("%s, which is frozen, releases %d tasks", h.name, len(ids))
			}
			continue
		}
		if left, share := len(owned), s.share(s.nodes[i]); len(ids) > 0 && left < int(share+1e-9) {
			t.Errorf("%s keeps %d tasks, less than its share of %.1f", h.name, left, share)
		}
	}
	return released
}

// Nodes above a limit give what is too much, once, and all that have more than their
// share together give what those far below theirs lack, and no more.
func TestRoundReleasesWhatItMustAndNoMore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		balancer           func(metafora.ClusterState) metafora.Balancer
		above, goal, below float64
	}{
		"rendezvous": {
			func(c metafora.ClusterState) metafora.Balancer { return balance.NewRendezvous(c) },
			loadFactor * loadFactor, loadFactor, 1 / loadFactor / loadFactor,
		},
		"fair": {
			func(c metafora.ClusterState) metafora.Balancer { return balance.NewFair(c) },
			threshold, threshold, 1 / threshold,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				s, holders := drawSnapshot(rt)
				over, lack := s.need(c.above, c.goal, c.below)
				released := balanceOnce(rt, s, holders, c.balancer)
				if released < over || released > over+lack {
					rt.Errorf("%d tasks released, %d are too many and %d are lacking", released, over, lack)
				}
			})
		})
	}
}
