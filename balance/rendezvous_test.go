package balance_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/balance"
)

func newRendezvous(n *modelNode) metafora.Balancer { return balance.NewRendezvous(n) }

// loadFactor is the default of balance.WithLoadFactor.
const loadFactor = 1.2

// bound is the largest load that placement allows for a share of tasks.
func bound(tasks, nodes int) int {
	return int(math.Ceil(loadFactor * float64(tasks) / float64(nodes)))
}

func TestMassStartCostsOneAttemptForEachTask(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ nodes, tasks int }{{1, 100}, {2, 100}, {4, 40}, {16, 100}, {16, 10_000}, {50, 300}, {50, 5000}} {
		for _, trip := range []time.Duration{5 * time.Millisecond, 100 * time.Millisecond} {
			t.Run(fmt.Sprintf("%d nodes, %d tasks, %v", c.nodes, c.tasks, trip), func(t *testing.T) {
				m := run(t, config{balancer: newRendezvous, trip: trip}, func(m *model) {
					m.joinAll(c.nodes)
					m.pass(time.Second)
					m.submit(c.tasks)
					m.settle(10 * time.Second)
				})
				m.check(t)
				if m.attempts > c.tasks+c.tasks/50 {
					t.Errorf("%d attempts to claim %d tasks", m.attempts, c.tasks)
				}
				if most, limit := slices.Max(m.load()), bound(c.tasks, c.nodes); most > limit {
					t.Errorf("a node has %d tasks, more than %d: %v", most, limit, m.load())
				}
				least := float64(c.tasks) / float64(c.nodes) / (loadFactor * loadFactor)
				if float64(slices.Min(m.load())) < least {
					t.Errorf("a node has less than %.1f tasks: %v", least, m.load())
				}
			})
		}
	}
}

func TestTaskThatComesAloneCostsOneAttempt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		nodes int
		every time.Duration
		life  time.Duration
	}{
		{16, 100 * time.Millisecond, time.Hour},
		{16, 100 * time.Millisecond, 10 * time.Second},
		{16, 10 * time.Millisecond, 2 * time.Second},
		{60, 10 * time.Millisecond, 6 * time.Second},
	} {
		t.Run(fmt.Sprintf("%d nodes, every %v, for %v", c.nodes, c.every, c.life), func(t *testing.T) {
			const tasks = 1000
			m := run(t, config{balancer: newRendezvous}, func(m *model) {
				m.joinAll(c.nodes)
				for i := range tasks {
					m.submit(1)
					// Lives differ, so that tasks do not end in the
					// order in which they came.
					m.after(c.life*time.Duration(1+i*7%10)/5, func() { m.finish(m.tasks[i]) })
					m.pass(c.every)
				}
				m.pass(time.Second)
			})
			m.check(t)
			if m.attempts > tasks+tasks/20 {
				t.Errorf("%d attempts to claim %d tasks", m.attempts, tasks)
			}
		})
	}
}

func TestNodesWithOldViewsDoNotAllClaimAtOnce(t *testing.T) {
	const nodes, tasks = 30, 1000
	// The views are three times as old as the delay allows.
	lag := []time.Duration{1500 * time.Millisecond, 1300 * time.Millisecond}
	m := run(t, config{balancer: newRendezvous, lag: lag}, func(m *model) {
		m.joinAll(nodes)
		m.pass(5 * time.Second)
		m.submit(tasks)
		m.settle(time.Minute)
	})
	m.check(t)
	if m.attempts > 5*tasks {
		t.Errorf("%d attempts to claim %d tasks", m.attempts, tasks)
	}
	if most, limit := slices.Max(m.load()), bound(tasks, nodes); most > limit {
		t.Errorf("a node has %d tasks, more than %d", most, limit)
	}
}

func TestNodesThatTakeNothingAreNotWaitedForNorGivenTasks(t *testing.T) {
	ways := map[string]func(*modelNode){
		"hung":    func(n *modelNode) { n.hung = true },
		"refuses": func(n *modelNode) { n.refuses = func(*modelTask) bool { return true } },
	}
	for way, spoil := range ways {
		for _, c := range []struct{ nodes, bad int }{{2, 1}, {16, 1}, {16, 8}, {60, 20}} {
			t.Run(fmt.Sprintf("%d of %d nodes %s", c.bad, c.nodes, way), func(t *testing.T) {
				const tasks = 300
				m := run(t, config{balancer: newRendezvous}, func(m *model) {
					m.joinAll(c.nodes)
					for i := range c.bad {
						spoil(m.nodes[i*c.nodes/c.bad])
					}
					m.pass(time.Second)
					for range tasks {
						m.submit(1)
						m.pass(300 * time.Millisecond)
					}
					m.settle(time.Minute)
					m.rounds(20, time.Minute)
				})
				m.check(t)
				if most := 2 * c.bad; m.moves > most {
					t.Errorf("%d tasks were released for nobody, more than %d", m.moves, most)
				}
				var waited time.Duration
				for _, task := range m.tasks {
					waited += task.waited
				}
				if mean := waited / tasks; mean > 600*time.Millisecond {
					t.Errorf("tasks waited for %v on average", mean)
				}
			})
		}
	}
}

func TestFrozenNodeIsNotWaitedFor(t *testing.T) {
	m := run(t, config{balancer: newRendezvous}, func(m *model) {
		m.joinAll(4)
		frozen := m.nodes[1]
		frozen.hung = true
		m.accept(frozen, false)
		m.pass(time.Second)
		m.submit(200)
		if took := m.settle(time.Minute); took > 100*time.Millisecond {
			t.Errorf("tasks waited for %v", took)
		}
	})
	m.check(t)
	if m.attempts != 200 {
		t.Errorf("%d attempts to claim 200 tasks", m.attempts)
	}
}

func TestLoadFollowsWeights(t *testing.T) {
	const tasks = 7000
	m := run(t, config{balancer: newRendezvous}, func(m *model) {
		m.join("small", 1)
		m.join("middle", 2)
		m.join("large", 4)
		m.pass(time.Second)
		m.submit(tasks)
		m.settle(10 * time.Second)
	})
	m.check(t)
	for _, n := range m.nodes {
		share := tasks * n.node.Weight / 7
		if got := float64(n.owned); got < share*0.9 || got > share*1.1 {
			t.Errorf("%s has %.0f tasks, its share is %.0f", n.node.Name, got, share)
		}
	}
	if m.attempts > tasks+tasks/50 {
		t.Errorf("%d attempts to claim %d tasks", m.attempts, tasks)
	}
}

func TestIneligibleNodesAreNotWaitedForAndWaitThemselves(t *testing.T) {
	eligible := func(t metafora.Task, n metafora.Node) bool {
		return t.ID() != "task-7" && (n.Name == "node-001" || n.Name == "node-003")
	}
	m := run(t, config{balancer: func(n *modelNode) metafora.Balancer {
		return balance.NewRendezvous(n, balance.WithEligible(eligible))
	}}, func(m *model) {
		m.joinAll(8)
		m.pass(time.Second)
		m.submit(40)
		m.pass(100 * time.Millisecond)
		if m.waiting() != 1 {
			t.Errorf("%d tasks wait", m.waiting())
		}
		m.pass(10 * time.Minute)
	})
	m.check(t)
	if task := m.tasks[7]; task.owner != nil {
		t.Errorf("%s claimed a task that no node may run", task.owner.node.Name)
	}
	if a, b := m.named["node-001"].owned, m.named["node-003"].owned; a+b != 39 || a == 0 || b == 0 {
		t.Errorf("the eligible nodes have %d and %d of 39 tasks", a, b)
	}
	if m.attempts != 39 {
		t.Errorf("%d attempts to claim 39 tasks", m.attempts)
	}
}
