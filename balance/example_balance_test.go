package balance_test

import (
	"fmt"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/balance"
)

// fixed is a cluster in which nothing changes. Programs use their Coordinator.
type fixed map[string]int

func (c fixed) Nodes() []metafora.Node {
	var nodes []metafora.Node
	for _, name := range []string{"a", "b", "c"} {
		if _, ok := c[name]; ok {
			nodes = append(nodes, metafora.Node{Name: name, Accepting: true, Weight: 1})
		}
	}
	return nodes
}

func (c fixed) NodeTaskCount(node string) int { return c[node] }

// onNode is what a Consumer tells its balancer.
type onNode struct {
	name  string
	tasks []string
}

func (n onNode) Node() string { return n.name }

func (n onNode) Count() int { return len(n.tasks) }

func (n onNode) Tasks() []metafora.RunningTask {
	var running []metafora.RunningTask
	for i, id := range n.tasks {
		running = append(running, metafora.RunningTask{
			Task:    metafora.NewTask(id),
			Started: time.Unix(int64(i), 0),
		})
	}
	return running
}

func ExampleAll() {
	b := balance.All()
	b.Init(onNode{name: "a"})

	_, ok := b.CanClaim(metafora.NewTask("t1"))
	fmt.Println(ok, len(b.Balance()))
	// Output: true 0
}

// Each task has its own order of nodes. The first claims at once, the second
// after a delay, the third after two.
func ExampleNewRendezvous() {
	cluster := fixed{"a": 0, "b": 0, "c": 0}
	for _, node := range []string{"a", "b", "c"} {
		b := balance.NewRendezvous(cluster, balance.WithDelay(time.Second))
		b.Init(onNode{name: node})

		until, ok := b.CanClaim(metafora.NewTask("t1"))
		if ok {
			fmt.Println(node, "claims at once")
		} else {
			fmt.Println(node, "waits for", time.Until(until).Round(time.Second))
		}
	}
	// Output:
	// a claims at once
	// b waits for 2s
	// c waits for 1s
}

// A node that joins gets its share from those that have more than theirs.
func ExampleNewFair() {
	cluster := fixed{"a": 4, "b": 4, "c": 0}
	b := balance.NewFair(cluster)
	b.Init(onNode{name: "a", tasks: []string{"t1", "t2", "t3", "t4"}})

	fmt.Println(b.Balance())
	// Output: [t1]
}
