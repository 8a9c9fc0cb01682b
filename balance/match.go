package balance

import (
	"slices"
	"strings"
	"time"

	"github.com/metafora-go/metafora"
)

// recheck is when a task comes back that this node may not run. Its labels may
// have changed by then.
const recheck = time.Minute

// Labeled is a task that needs a node with certain labels.
type Labeled interface {
	metafora.Task
	// Labels returns the labels that a node must have. It must return the
	// same ones on all nodes.
	Labels() map[string]string
}

// TaskLabels returns the labels that a [Labeled] task needs, none for others. It is
// the selector to pass to [NewMatch] for such tasks.
func TaskLabels(t metafora.Task) map[string]string {
	if l, ok := t.(Labeled); ok {
		return l.Labels()
	}
	return nil
}

// Match is a balancer that claims only tasks whose labels this node has. A task
// that no node matches waits until one does. It does not spread tasks: combine
// it with a balancer that does, or better, let [Rendezvous] choose among the
// nodes that match:
//
//	match := balance.NewMatch(coord, nil)
//	balancer := balance.NewRendezvous(coord, balance.WithEligible(match.Eligible))
type Match struct {
	cluster  metafora.ClusterState
	selector func(metafora.Task) map[string]string
	node     string
}

var _ metafora.Balancer = (*Match)(nil)

// NewMatch returns a Match balancer. selector returns the labels that a task
// needs; a node has them if it has the same value for each. It must give the same
// answer on all nodes. nil stands for [TaskLabels]. The Coordinator of the node
// is the cluster state.
func NewMatch(cluster metafora.ClusterState, selector func(metafora.Task) map[string]string) *Match {
	if selector == nil {
		selector = TaskLabels
	}
	return &Match{cluster: cluster, selector: selector}
}

// Init implements [metafora.Balancer].
func (m *Match) Init(bc metafora.BalancerContext) { m.node = bc.Node() }

// CanClaim implements [metafora.Balancer].
func (m *Match) CanClaim(t metafora.Task) (until time.Time, ok bool) {
	nodes := m.cluster.Nodes()
	i, known := slices.BinarySearchFunc(nodes, m.node, func(n metafora.Node, name string) int {
		return strings.Compare(n.Name, name)
	})
	if known && m.Eligible(t, nodes[i]) {
		return time.Time{}, true
	}
	return time.Now().Add(recheck), false
}

// Balance implements [metafora.Balancer]. It releases nothing.
func (m *Match) Balance() []string { return nil }

// Eligible tells whether a node has the labels that a task needs.
func (m *Match) Eligible(t metafora.Task, n metafora.Node) bool {
	for label, want := range m.selector(t) {
		if have, ok := n.Labels[label]; !ok || have != want {
			return false
		}
	}
	return true
}
