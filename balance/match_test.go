package balance_test

import (
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/balance"
)

// labeled is a task that needs labels.
type labeled struct {
	metafora.Task
	labels map[string]string
}

func (l labeled) Labels() map[string]string { return l.labels }

// park is a cluster of nodes with labels.
type park []metafora.Node

func (p park) Nodes() []metafora.Node { return p }

func (p park) NodeTaskCount(string) int { return 0 }

func TestMatchClaimsOnlyWhatTheNodeHasLabelsFor(t *testing.T) {
	cluster := park{
		{Name: "a", Labels: map[string]string{"gpu": "yes", "zone": "1"}},
		{Name: "b", Labels: map[string]string{"zone": "2", "empty": ""}},
		{Name: "c"},
	}
	needs := func(labels map[string]string) metafora.Task { return labeled{metafora.NewTask(task), labels} }
	for _, c := range []struct {
		task metafora.Task
		want string
	}{
		{metafora.NewTask(task), "abc"},
		{needs(nil), "abc"},
		{needs(map[string]string{"gpu": "yes"}), "a"},
		{needs(map[string]string{"zone": "2"}), "b"},
		{needs(map[string]string{"gpu": "yes", "zone": "2"}), ""},
		{needs(map[string]string{"empty": ""}), "b"},
		{needs(map[string]string{"zone": "3"}), ""},
	} {
		got := ""
		for _, name := range []string{"a", "b", "c", "unknown"} {
			b := balance.NewMatch(cluster, nil)
			b.Init(onNode{name: name})
			until, ok := b.CanClaim(c.task)
			switch {
			case ok:
				got += name
			case !until.After(time.Now().Add(time.Second)):
				t.Errorf("%s is to be asked again at once", name)
			}
			if ids := b.Balance(); ids != nil {
				t.Errorf("%s releases %v", name, ids)
			}
		}
		if got != c.want {
			t.Errorf("%v: claimed by %q, want %q", c.task, got, c.want)
		}
	}
}

func TestRendezvousChoosesAmongNodesThatMatch(t *testing.T) {
	m := run(t, config{balancer: func(n *modelNode) metafora.Balancer {
		selector := func(metafora.Task) map[string]string { return map[string]string{"gpu": "yes"} }
		match := balance.NewMatch(n, selector)
		return balance.NewRendezvous(n, balance.WithEligible(match.Eligible))
	}}, func(m *model) {
		m.joinAll(20)
		for _, i := range []int{3, 7, 11} {
			n := m.nodes[i]
			n.node.Labels = map[string]string{"gpu": "yes"}
			m.accept(n, true)
		}
		m.pass(time.Second)
		m.submit(300)
		if took := m.settle(time.Minute); took > 100*time.Millisecond {
			t.Errorf("tasks waited for %v", took)
		}
	})
	m.check(t)
	for i, owned := range m.load() {
		if gpu := i == 3 || i == 7 || i == 11; gpu != (owned > 0) {
			t.Errorf("node %d has %d tasks", i, owned)
		}
	}
	if m.attempts > 310 {
		t.Errorf("%d attempts to claim 300 tasks", m.attempts)
	}
}
