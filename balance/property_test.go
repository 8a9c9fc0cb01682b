package balance_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/metafora-go/metafora"
)

// drawCluster draws a model's timing, nodes and weights, and how many tasks each
// node has to begin with.
type drawnCluster struct {
	cfg     config
	weights []float64
	tasks   []int
	gap     time.Duration // between rounds of balancing
}

func drawCluster(t *rapid.T, maxNodes, maxTasks int, lags ...time.Duration) drawnCluster {
	ms := func(label string, of ...time.Duration) time.Duration {
		return rapid.SampledFrom(of).Draw(t, label+" (ms)") * time.Millisecond
	}
	d := drawnCluster{
		cfg: config{
			trip: ms("trip", 1, 20, 200),
			stop: ms("stop", 0, 100, 20_000),
			lag:  []time.Duration{ms("lag", lags...), ms("other lag", lags...)},
		},
		gap: ms("gap", 1000, 7000, 60_000),
	}
	nodes := rapid.IntRange(1, maxNodes).Draw(t, "nodes")
	weighted := rapid.Bool().Draw(t, "weighted")
	for range nodes {
		weight := 1.0
		if weighted {
			weight = rapid.SampledFrom([]float64{0, 0.5, 1, 3}).Draw(t, "weight")
		}
		d.weights = append(d.weights, weight)
		d.tasks = append(d.tasks, rapid.IntRange(0, 2*maxTasks/nodes).Draw(t, "tasks"))
	}
	return d
}

func (d drawnCluster) start(m *model) {
	for i, w := range d.weights {
		m.give(m.join(fmt.Sprintf("node-%03d", i), w), d.tasks[i])
	}
	m.pass(5 * time.Second)
}

// share returns the fair share of a node.
func (m *model) share(n *modelNode) float64 {
	total, weights := 0, 0.0
	for _, o := range m.nodes {
		total += o.owned
		weights += weightOf(o.node)
	}
	return float64(total) * weightOf(n.node) / weights
}

func weightOf(n metafora.Node) float64 {
	if n.Weight == 0 {
		return 1
	}
	return n.Weight
}

// excess returns how many tasks must move at least so that no node has more than
// its share, rounded up.
func (m *model) excess() int {
	sum := 0
	for _, n := range m.nodes {
		sum += max(0, n.owned-int(math.Ceil(m.share(n)-1e-9)))
	}
	return sum
}

// rebalance lets the cluster balance for half an hour after which all should be still
// for a day, and returns the model and how many tasks had to move at least.
func (d drawnCluster) rebalance(t *testing.T, trials int) (m *model, excess int) {
	t.Helper()
	m = run(t, d.cfg, func(m *model) {
		d.start(m)
		excess = m.excess()
		start := time.Now()
		for gap := d.gap; time.Since(start) < 30*time.Minute; gap += gap / 100 {
			m.balance()
			m.pass(gap)
		}
		m.settle(10 * time.Minute)
		m.expectCalm(trials)
	})
	return m, excess
}

// expectCalm lets a day pass in which no tasks should move, but for some that go to
// nodes on trial.
func (m *model) expectCalm(trials int) {
	before := m.moves
	m.rounds(6*24, 10*time.Minute)
	if n := m.moves - before; n > trials {
		m.faultf("%d tasks move when all should be still", n)
	}
}

// checkLoad checks that each node has at most factor times its share, rounded up,
// and slack.
func (m *model) checkLoad(rt *rapid.T, factor float64, slack int) {
	for _, n := range m.nodes {
		if most := int(math.Ceil(factor*m.share(n)-1e-9)) + slack; n.owned > most {
			rt.Errorf("%s has %d tasks, more than %d", n.node.Name, n.owned, most)
		}
	}
}

func TestRendezvousBalancesWithFewestMoves(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		d := drawCluster(rt, 30, 300, 1, 20, 200)
		d.cfg.balancer = newRendezvous
		m, excess := d.rebalance(t, 0)
		m.check(rt)
		m.checkLoad(rt, loadFactor*loadFactor, 0)
		if most := excess + excess/10 + len(m.nodes); m.moves > most {
			rt.Errorf("%d moves, where %d tasks are too many", m.moves, excess)
		}
	})
}

func TestFairBalancesWithFewMoves(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		d := drawCluster(rt, 30, 300, 1, 20, 100)
		d.cfg.balancer = newFair
		m, excess := d.rebalance(t, 0)
		m.check(rt)
		// A node that lost all its races lately is not counted on until it
		// takes a task, which leaves the others a little more.
		m.checkLoad(rt, threshold, 2)
		if most := excess + excess/2 + len(m.nodes); m.moves > most {
			rt.Errorf("%d moves, where %d tasks are too many", m.moves, excess)
		}
	})
}

// With views that are older than the pauses between rounds all bets on evenness
// are off, but not those on peace: nodes that are always late come to be doubted.
func TestBalancingWithVeryOldViewsEnds(t *testing.T) {
	t.Parallel()
	for name, balancer := range balancers {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				d := drawCluster(rt, 20, 200, 1, 1000, 5000)
				d.cfg.balancer = balancer
				m, excess := d.rebalance(t, 5*len(d.weights))
				m.check(rt)
				if most := 6*excess + 3*len(m.nodes); m.moves > most {
					rt.Errorf("%d moves, where %d tasks are too many", m.moves, excess)
				}
			})
		})
	}
}
