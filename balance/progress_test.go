package balance_test

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/balance"
)

// Whatever happens to a cluster, each task is claimed in the end as long as a node
// is left that can.
func TestEveryTaskIsClaimedInTheEnd(t *testing.T) {
	kinds := map[string]func(*modelNode) metafora.Balancer{
		"rendezvous": newRendezvous,
		"fair":       newFair,
		"load delay": func(*modelNode) metafora.Balancer { return balance.NewLoadDelay() },
		"combined": func(n *modelNode) metafora.Balancer {
			return balance.Combine(newRendezvous(n), balance.NewLoadDelay(), newFair(n))
		},
	}
	for name, balancer := range kinds {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				d := drawCluster(rt, 12, 100, 1, 50, 2000)
				d.cfg.balancer = balancer
				steps := rapid.SliceOfN(rapid.IntRange(0, 1<<16), 0, 30).Draw(rt, "steps")
				m := run(t, d.cfg, func(m *model) {
					d.start(m)
					m.join("healthy", 1)
					for i, s := range steps {
						m.step(i, s)
					}
					m.settle(10 * time.Minute)
				})
				m.check(rt)
			})
		})
	}
}

// able tells whether a node takes what is left to it.
func (n *modelNode) able() bool { return !n.hung && n.refuses == nil && n.node.Accepting }

// shares returns the least and the greatest number of tasks that may be a node's fair
// share: other nodes count or not when they are unable, depending on whether they
// have let a task pass.
func (m *model) shares(n *modelNode) (least, most float64) {
	owned, weights := 0, 0.0
	var unable []*modelNode
	for _, o := range m.nodes {
		if o.able() || o == n {
			owned, weights = owned+o.owned, weights+weightOf(o.node)
		} else if o.node.Accepting {
			unable = append(unable, o)
		}
	}
	per := func(o *modelNode) float64 { return float64(o.owned) / weightOf(o.node) }
	slices.SortFunc(unable, func(a, b *modelNode) int { return cmp.Compare(per(a), per(b)) })
	extreme := func(unable iter.Seq2[int, *modelNode], better func(a, b float64) float64) float64 {
		owned, weights := float64(owned), weights
		best := owned / weights
		for _, o := range unable {
			owned, weights = owned+float64(o.owned), weights+weightOf(o.node)
			best = better(best, owned/weights)
		}
		return best * weightOf(n.node)
	}
	return extreme(slices.All(unable), math.Min), extreme(slices.Backward(unable), math.Max)
}

// unable returns how many nodes there are that take nothing.
func (m *model) unable() int {
	n := 0
	for _, o := range m.nodes {
		if !o.able() {
			n++
		}
	}
	return n
}

// surplus returns how many tasks nodes that balance may have above their shares.
func (m *model) surplus() int {
	sum := 0
	for _, n := range m.nodes {
		if !n.hung {
			least, _ := m.shares(n)
			sum += max(0, n.owned-int(least))
		}
	}
	return sum
}

// After any history of nodes that join, leave, freeze and hang, and of tasks that
// come and go, a bounded number of rounds suffices for balance, few tasks move on
// the way, and none after that.
func TestBalanceReturnsAfterAnyHistory(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		balancer func(*modelNode) metafora.Balancer
		factor   float64
		trials   int // of a node that takes nothing
	}{
		"rendezvous": {newRendezvous, loadFactor * loadFactor, 5},
		// Without trials a node that is doubted gets its share when
		// tasks come by, which they do not here.
		"fair": {newFair, math.Inf(1), 0},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				d := drawCluster(rt, 20, 200, 1, 20, 100)
				d.cfg.balancer = c.balancer
				steps := rapid.SliceOfN(rapid.IntRange(0, 1<<16), 0, 30).Draw(rt, "steps")
				var surplus, before int
				m := run(t, d.cfg, func(m *model) {
					d.start(m)
					m.join("healthy", 1)
					for i, s := range steps {
						m.step(i, s)
					}
					m.settle(10 * time.Minute)
					surplus, before = m.surplus(), m.moves
					m.rounds(30, time.Minute)
					// Some may have been doubted, and have to wait for a trial.
					m.rounds(36, 10*time.Minute)
					m.settle(10 * time.Minute)
					// One that can take tasks may have been doubted as well: its
					// next trial, which ends that, may be due as late as this.
					m.expectCalm(c.trials*m.unable() + 2)
				})
				m.check(rt)
				for _, n := range m.nodes {
					if !n.able() {
						continue
					}
					_, share := m.shares(n)
					// Where there are fewer tasks than nodes, some have none, and
					// whether two are too many depends on how many of those a
					// node doubts.
					if most := max(2, math.Ceil(c.factor*share-1e-9)); float64(n.owned) > most {
						rt.Errorf("%s has %d tasks, more than %v", n.node.Name, n.owned, most)
					}
				}
				if moves, most := m.moves-before, 2*(surplus+len(m.nodes)+c.trials*m.unable()); moves > most {
					rt.Errorf("%d moves, where %d tasks are too many", moves, surplus)
				}
			})
		})
	}
}

// step makes something happen, as a drawn number says.
func (m *model) step(i, drawn int) {
	what, which := drawn%8, drawn/8
	n := m.nodes[which%len(m.nodes)]
	healthy := n.node.Name == "healthy"
	switch {
	case what == 0:
		m.join(fmt.Sprintf("new-%d", i), float64(which%3))
	case what == 1 && !healthy:
		m.leave(n)
	case what == 2 && !healthy:
		n.hung = true
	case what == 3 && !healthy:
		n.refuses = func(*modelTask) bool { return true }
	case what == 4 && !healthy:
		m.accept(n, !n.node.Accepting)
	case what == 5:
		m.submit(which % 50)
	case what == 6 && len(m.tasks) > 0:
		m.finish(m.tasks[which%len(m.tasks)])
	default:
		m.balance()
	}
	m.pass(time.Duration(which%7) * 300 * time.Millisecond)
}
