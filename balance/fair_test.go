package balance_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/balance"
)

func newFair(n *modelNode) metafora.Balancer { return balance.NewFair(n) }

// balancers are those that know of other nodes.
var balancers = map[string]func(*modelNode) metafora.Balancer{"rendezvous": newRendezvous, "fair": newFair}

// threshold is the default of balance.WithThreshold.
const threshold = 1.2

func TestFairStaysBelowThreshold(t *testing.T) {
	for _, c := range []struct{ nodes, tasks int }{{1, 100}, {2, 100}, {4, 40}, {16, 100}, {16, 2000}} {
		t.Run(fmt.Sprintf("%d nodes, %d tasks", c.nodes, c.tasks), func(t *testing.T) {
			m := run(t, config{balancer: newFair}, func(m *model) {
				m.joinAll(c.nodes)
				m.pass(time.Second)
				m.submit(c.tasks)
				m.settle(10 * time.Second)
			})
			m.check(t)
			if most, limit := slices.Max(m.load()), int(math.Ceil(threshold*float64(c.tasks)/float64(c.nodes))); most > limit {
				t.Errorf("a node has %d tasks, more than %d: %v", most, limit, m.load())
			}
			if m.attempts > 2*c.tasks {
				t.Errorf("%d attempts to claim %d tasks", m.attempts, c.tasks)
			}
		})
	}
}

func TestFairGivesJoiningNodeItsShare(t *testing.T) {
	m := run(t, config{balancer: newFair, stop: time.Second}, func(m *model) {
		m.joinAll(9)
		for _, n := range m.nodes {
			m.give(n, 20)
		}
		joined := m.join("joined", 1)
		m.pass(time.Second)
		m.balance()
		m.pass(5 * time.Second)
		if joined.owned != 18 || m.moves != 18 {
			t.Errorf("%d moves, and it has %d of 18 tasks", m.moves, joined.owned)
		}
	})
	m.check(t)
}

func TestFairFollowsWeights(t *testing.T) {
	m := run(t, config{balancer: newFair}, func(m *model) {
		m.join("small", 1)
		m.join("large", 3)
		m.pass(time.Second)
		m.submit(400)
		m.settle(time.Minute)
	})
	m.check(t)
	if got := m.named["small"].owned; got < 80 || got > 120 {
		t.Errorf("the small node has %d of 400 tasks, its share is 100", got)
	}
}

func TestFairCountsOnlyNodesOfTheFilter(t *testing.T) {
	cluster := fixed{"a": 10, "b": 10, "c": 0}
	filter := func(n metafora.Node) bool { return n.Name != "c" }
	b := balance.NewFair(cluster, balance.WithNodeFilter(filter))
	b.Init(onNode{name: "a", tasks: make([]string, 10)})
	if ids := b.Balance(); ids != nil {
		t.Errorf("releases %v to a node that does not count", ids)
	}
}

func TestOverloadedNodeLeavesTaskToOthersForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := balance.NewFair(fixed{"a": 140, "b": 90, "c": 90}, balance.WithPatience(3*time.Second))
		b.Init(onNode{name: "a", tasks: make([]string, 140)})
		start := time.Now()
		for {
			until, ok := b.CanClaim(metafora.NewTask(task))
			if ok {
				break
			}
			if !until.After(time.Now()) {
				t.Fatal("it is to be asked again at once")
			}
			time.Sleep(time.Until(until))
		}
		if waited := time.Since(start); waited != 3*time.Second {
			t.Errorf("claims after %v", waited)
		}
	})
}

func TestFairDoesNotClaimWhatItJustReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := fixed{"a": 3, "b": 0}
		node := &onNode{name: "a", tasks: []string{"t1", "t2", "t3"}}
		b := balance.NewFair(cluster)
		b.Init(node)
		released := b.Balance()
		if len(released) != 1 {
			t.Fatalf("released %v", released)
		}
		// Even when the rest of its tasks is done.
		node.tasks, cluster["a"] = nil, 0
		time.Sleep(time.Second)
		until, ok := b.CanClaim(metafora.NewTask(released[0]))
		if ok || !until.After(time.Now()) {
			t.Errorf("until %v, %v", until, ok)
		}
	})
}

func TestFairReleasesNoMoreToNodeThatTakesNothing(t *testing.T) {
	m := run(t, config{balancer: newFair}, func(m *model) {
		m.joinAll(4)
		m.nodes[3].hung = true
		for _, n := range m.nodes[:3] {
			m.give(n, 40)
		}
		for range 100 {
			m.pass(time.Minute)
			m.balance()
		}
	})
	m.check(t)
	if m.moves > 30 {
		t.Errorf("%d tasks released, for a node that lacks 30", m.moves)
	}
}

// A node near its share that refuses tasks, since its memory is full, say, is not
// noticed by those above theirs until nobody takes what they release.
func TestFairDoesNotReleaseForEverWhatNobodyTakes(t *testing.T) {
	m := run(t, config{balancer: newFair}, func(m *model) {
		m.joinAll(3)
		for i, tasks := range []int{47, 30, 31} {
			m.give(m.nodes[i], tasks)
		}
		for _, n := range m.nodes[1:] {
			n.refuses = func(*modelTask) bool { return true }
		}
		for range 100 {
			m.pass(10 * time.Minute)
			m.balance()
		}
		m.settle(time.Minute)
	})
	m.check(t)
	if m.moves > 20 {
		t.Errorf("%d tasks released", m.moves)
	}
}
