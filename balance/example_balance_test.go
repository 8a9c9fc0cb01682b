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

// Of equal tasks, a node of weight 3 is to have three times as many as one of
// weight 1. Weight is an option of a Coordinator.
func ExampleNewFair_weights() {
	cluster := weighted{fixed{"a": 40, "b": 40}}
	b := balance.NewFair(cluster)
	b.Init(onNode{name: "a", tasks: make([]string, 40)})

	// Its share is 20 tasks, and b is far below its own.
	fmt.Println(len(b.Balance()))
	// Output: 20
}

// weighted is a cluster in which b has weight 3.
type weighted struct{ fixed }

func (w weighted) Nodes() []metafora.Node {
	nodes := w.fixed.Nodes()
	nodes[1].Weight = 3
	return nodes
}

// Nodes that run other handlers do not count.
func ExampleWithNodeFilter() {
	cluster := fixed{"a": 4, "b": 4, "c": 0}
	b := balance.NewFair(cluster, balance.WithNodeFilter(func(n metafora.Node) bool { return n.Name != "c" }))
	b.Init(onNode{name: "a", tasks: []string{"t1", "t2", "t3", "t4"}})

	fmt.Println(b.Balance())
	// Output: []
}

// constant is a resource whose usage does not change. Package balance/hoststats
// has real ones.
type constant float64

func (c constant) Usage() (float64, error) { return float64(c), nil }

func (c constant) String() string { return "constant" }

func ExampleNewResource() {
	b, err := balance.NewResource(constant(95), 80, 90)
	if err != nil {
		fmt.Println(err)
		return
	}
	b.Init(onNode{name: "a", tasks: []string{"t1", "t2", "t3"}})

	_, ok := b.CanClaim(metafora.NewTask("t4"))
	fmt.Println(ok, b.Balance())
	// Output: false [t1]
}

// The fewer tasks a node has, the sooner it claims one more.
func ExampleNewLoadDelay() {
	b := balance.NewLoadDelay(balance.WithPerTask(time.Second))
	b.Init(onNode{name: "a", tasks: []string{"t1", "t2", "t3"}})

	until, ok := b.CanClaim(metafora.NewTask("t4"))
	fmt.Println(ok, int(time.Until(until).Seconds()))
	// Output: false 3
}

// Each node restricts itself by its memory, and all spread what is left.
func ExampleCombine() {
	cluster := fixed{"a": 0}
	memory, err := balance.NewResource(constant(85), 80, 90)
	if err != nil {
		fmt.Println(err)
		return
	}
	b := balance.Combine(balance.NewRendezvous(cluster), memory)
	b.Init(onNode{name: "a"})

	_, ok := b.CanClaim(metafora.NewTask("t1"))
	fmt.Println(ok)
	// Output: false
}

// A render is a task that needs a node with a GPU.
type render struct{ metafora.Task }

func (render) Labels() map[string]string { return map[string]string{"gpu": "yes"} }

func ExampleNewMatch() {
	cluster := park{
		{Name: "a", Accepting: true, Labels: map[string]string{"gpu": "yes"}},
		{Name: "b", Accepting: true},
	}
	task := render{metafora.NewTask("t1")}
	for _, node := range []string{"a", "b"} {
		match := balance.NewMatch(cluster, balance.TaskLabels)
		b := balance.NewRendezvous(cluster, balance.WithEligible(match.Eligible))
		b.Init(onNode{name: node})

		_, ok := b.CanClaim(task)
		fmt.Println(node, ok)
	}
	// Output:
	// a true
	// b false
}
