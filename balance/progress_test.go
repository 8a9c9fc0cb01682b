package balance_test

import (
	"fmt"
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
