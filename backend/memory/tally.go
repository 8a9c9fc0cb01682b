package memory

import (
	"sync"
	"sync/atomic"
)

// tally counts the tasks that each node owns. Balancers ask for every node
// again and again, so that reading takes no lock. Writers have the broker's.
type tally struct {
	counts sync.Map // the name of a node to an *atomic.Int64, which is not 0
}

func (t *tally) of(node string) int {
	n, ok := t.counts.Load(node)
	if !ok {
		return 0
	}
	return int(n.(*atomic.Int64).Load())
}

func (t *tally) add(node string, delta int64) {
	n, _ := t.counts.LoadOrStore(node, new(atomic.Int64))
	if n.(*atomic.Int64).Add(delta) == 0 {
		t.counts.Delete(node)
	}
}

func (t *tally) snapshot() map[string]int {
	counts := make(map[string]int)
	for node, n := range t.counts.Range {
		counts[node.(string)] = int(n.(*atomic.Int64).Load())
	}
	return counts
}
