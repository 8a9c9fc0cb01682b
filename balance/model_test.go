package balance_test

import (
	"container/heap"
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
)

// model is a cluster reduced to what a balancer can notice. It runs on one
// goroutine in a synctest bubble, so that days pass in no time and each run of
// the same configuration is the same.
type model struct {
	cfg   config
	start time.Time
	nodes []*modelNode // the live ones, sorted by name
	named map[string]*modelNode
	list  []metafora.Node // what the nodes tell of themselves
	tasks []*modelTask
	gone  *modelNode // owns the finished tasks
	queue events

	attempts int // claims that the broker had to decide
	claims   int // those that succeeded
	moves    int // tasks released by balancing
	stopping int // those whose handlers have yet to stop
	faults   []string
}

type config struct {
	balancer func(*modelNode) metafora.Balancer
	// trip is how long a claim takes, lag how much older than real a node's
	// view of the others is, for each node the next of these.
	trip time.Duration
	lag  []time.Duration
	// stop is how long a handler takes to stop.
	stop time.Duration
	// inFlight limits the claims of one node under way.
	inFlight int
}

type modelTask struct {
	id    string
	owner *modelNode
	// since is when the task got, or lost, its owner; running ones are older
	// than their node's view of them.
	since  time.Time
	moves  int
	waited time.Duration // in all
}

func (t *modelTask) ID() string { return t.id }

type modelNode struct {
	m        *model
	node     metafora.Node
	balancer metafora.Balancer
	lag      time.Duration
	hung     bool                                // listed, but does nothing
	refuses  func(*modelTask) bool               // what the node never claims
	tasks    map[*modelTask]metafora.RunningTask // kept ones
	flying   int
	ready    []*modelTask
	deferred map[*modelTask]int  // a number that tells the latest deferral
	claiming map[*modelTask]bool // whether a task was announced anew meanwhile
	counts   []count             // history of how many tasks it owns
	owned    int
}

type count struct {
	at time.Time
	n  int
}

// run runs f with a new model in a bubble and returns it for inspection.
func run(t *testing.T, cfg config, f func(*model)) *model {
	t.Helper()
	if cfg.trip == 0 {
		cfg.trip = 5 * time.Millisecond
	}
	if cfg.lag == nil {
		cfg.lag = []time.Duration{4 * time.Millisecond, 7 * time.Millisecond, 2 * time.Millisecond}
	}
	if cfg.inFlight == 0 {
		cfg.inFlight = 256
	}
	m := &model{cfg: cfg, gone: &modelNode{}, named: make(map[string]*modelNode)}
	synctest.Test(t, func(*testing.T) {
		m.start = time.Now()
		f(m)
	})
	return m
}

// join adds a node with some weight.
func (m *model) join(name string, weight float64) *modelNode {
	n := &modelNode{
		m:        m,
		node:     metafora.Node{Name: name, Accepting: true, Weight: weight},
		lag:      m.cfg.lag[len(m.nodes)%len(m.cfg.lag)],
		tasks:    make(map[*modelTask]metafora.RunningTask),
		deferred: make(map[*modelTask]int),
		claiming: make(map[*modelTask]bool),
	}
	i, _ := slices.BinarySearchFunc(m.nodes, name, func(n *modelNode, name string) int {
		return strings.Compare(n.node.Name, name)
	})
	m.nodes = slices.Insert(m.nodes, i, n)
	m.list = slices.Insert(slices.Clone(m.list), i, n.node)
	m.named[name] = n
	n.balancer = m.cfg.balancer(n)
	n.balancer.Init(n)
	m.after(n.lag, func() {
		for _, t := range m.tasks {
			if t.owner == nil {
				n.offer(t)
			}
		}
	})
	return n
}

// accept changes whether a node tells the others that it takes tasks.
func (m *model) accept(n *modelNode, accepting bool) {
	n.node.Accepting = accepting
	i := slices.Index(m.nodes, n)
	m.list = slices.Clone(m.list)
	m.list[i] = n.node
}

// joinAll adds n nodes of weight 1.
func (m *model) joinAll(n int) {
	for i := range n {
		m.join(fmt.Sprintf("node-%03d", i), 1)
	}
}

// leave ends a node: its tasks become claimable at once.
func (m *model) leave(n *modelNode) {
	i := slices.Index(m.nodes, n)
	m.nodes = slices.Delete(m.nodes, i, i+1)
	m.list = slices.Delete(slices.Clone(m.list), i, i+1)
	delete(m.named, n.node.Name)
	n.hung = true
	var orphans []*modelTask
	for _, t := range m.tasks {
		if t.owner == n {
			t.owner, t.since = nil, time.Now()
			orphans = append(orphans, t)
		}
	}
	m.announce(orphans)
}

// submit adds n tasks.
func (m *model) submit(n int) {
	first := len(m.tasks)
	for i := range n {
		m.tasks = append(m.tasks, &modelTask{id: fmt.Sprintf("task-%d", first+i), since: time.Now()})
	}
	m.announce(m.tasks[first:])
}

// give makes a node the owner of the next n new tasks.
func (m *model) give(n *modelNode, count int) {
	for range count {
		t := &modelTask{id: fmt.Sprintf("task-%d", len(m.tasks))}
		m.tasks = append(m.tasks, t)
		n.own(t)
	}
}

// spread makes the nodes own new tasks alike, in the manner of a hash.
func (m *model) spread(tasks int) {
	for i := range tasks {
		m.give(m.nodes[i*31%len(m.nodes)], 1)
	}
}

func (m *model) announce(tasks []*modelTask) {
	for _, n := range m.nodes {
		m.after(n.lag, func() {
			for _, t := range tasks {
				n.hear(t)
			}
		})
	}
}

// hear tells the node that a task was announced.
func (n *modelNode) hear(t *modelTask) {
	if _, claims := n.claiming[t]; claims {
		n.claiming[t] = true
		return
	}
	if f, ok := n.balancer.(metafora.Forgetter); ok {
		f.Forget(t.id)
	}
	n.offer(t)
}

// offer lets the node decide on a task, now and whenever it asked for it.
func (n *modelNode) offer(t *modelTask) {
	if _, claims := n.claiming[t]; n.hung || claims || t.owner != nil && n.knows(t) {
		return
	}
	n.deferred[t]++
	until, ok := n.balancer.CanClaim(t)
	if n.refuses != nil && n.refuses(t) {
		until, ok = time.Now().Add(10*time.Second), false
	}
	if ok {
		n.claiming[t] = false
		n.ready = append(n.ready, t)
		n.fly()
		return
	}
	number := n.deferred[t]
	n.m.after(max(time.Until(until), time.Millisecond), func() {
		if n.deferred[t] == number {
			n.offer(t)
		}
	})
}

// knows tells whether the node has learned of the latest change of a task.
func (n *modelNode) knows(t *modelTask) bool { return time.Since(t.since) >= n.lag }

// fly starts claims of tasks that the balancer agreed to.
func (n *modelNode) fly() {
	for len(n.ready) > 0 && n.flying < n.m.cfg.inFlight {
		t := n.ready[0]
		n.ready = n.ready[1:]
		if t.owner != nil && n.knows(t) {
			n.claimed(t)
			continue
		}
		n.flying++
		n.m.attempts++
		won := false
		n.m.after(n.m.cfg.trip/2, func() {
			if won = !n.hung && t.owner == nil; won {
				n.m.claims++
				n.own(t)
				n.flying--
			}
		})
		n.m.after(n.m.cfg.trip, func() {
			if !won {
				n.flying--
			}
			n.claimed(t)
			n.fly()
		})
	}
}

// claimed ends a claim, won or not.
func (n *modelNode) claimed(t *modelTask) {
	again := n.claiming[t]
	delete(n.claiming, t)
	if again && t.owner != n {
		n.hear(t)
	}
}

func (n *modelNode) own(t *modelTask) {
	t.waited += time.Since(t.since)
	t.owner, t.since = n, time.Now()
	n.tasks[t] = metafora.RunningTask{Task: t, Started: time.Now()}
	n.change(1)
}

// finish ends a task for good.
func (m *model) finish(t *modelTask) {
	if n := t.owner; n != nil {
		delete(n.tasks, t)
		n.change(-1)
	}
	t.owner, t.since = m.gone, time.Now()
}

func (n *modelNode) change(by int) {
	n.owned += by
	n.counts = append(n.counts, count{time.Now(), n.owned})
}

// balance makes all nodes balance once, one after another but within their lags
// of each other, and reports how many tasks they released.
func (m *model) balance() int {
	before := m.moves
	for _, n := range m.nodes {
		if n.hung {
			continue
		}
		ids := n.balancer.Balance()
		m.moves += len(ids)
		seen := make(map[string]bool)
		for _, id := range ids {
			if seen[id] {
				m.faultf("%s lists %s twice", n.node.Name, id)
			}
			seen[id] = true
			n.release(id)
		}
	}
	return m.moves - before
}

func (n *modelNode) release(id string) {
	var i int
	fmt.Sscanf(id, "task-%d", &i)
	t := n.m.tasks[i]
	if _, kept := n.tasks[t]; !kept {
		n.m.faultf("%s releases %s, which it does not have", n.node.Name, id)
		return
	}
	delete(n.tasks, t)
	t.moves++
	n.m.stopping++
	n.m.after(n.m.cfg.stop, func() {
		n.m.stopping--
		if t.owner != n {
			return
		}
		t.owner, t.since = nil, time.Now()
		n.change(-1)
		n.m.announce([]*modelTask{t})
	})
}

// reporter is a *testing.T or a *rapid.T.
type reporter interface {
	Helper()
	Error(args ...any)
}

// check fails the test when a balancer broke the rules.
func (m *model) check(t reporter) {
	t.Helper()
	for _, fault := range m.faults {
		t.Error(fault)
	}
}

func (m *model) faultf(format string, args ...any) {
	m.faults = append(m.faults, fmt.Sprintf(format, args...))
}

// Node, Count and Tasks make the node a BalancerContext.
func (n *modelNode) Node() string { return n.node.Name }

func (n *modelNode) Count() int { return len(n.tasks) + n.flying + len(n.ready) }

func (n *modelNode) Tasks() []metafora.RunningTask {
	tasks := make([]metafora.RunningTask, 0, len(n.tasks))
	for _, t := range n.tasks {
		tasks = append(tasks, t)
	}
	slices.SortFunc(tasks, func(a, b metafora.RunningTask) int { return strings.Compare(a.ID(), b.ID()) })
	return tasks
}

// Nodes and NodeTaskCount make it a ClusterState, as old as the node's lag.
func (n *modelNode) Nodes() []metafora.Node { return n.m.list }

func (n *modelNode) NodeTaskCount(name string) int {
	o, live := n.m.named[name]
	if !live {
		return 0
	}
	seen := time.Now().Add(-n.lag)
	if last := len(o.counts) - 1; last >= 0 && !o.counts[last].at.After(seen) {
		return o.counts[last].n
	}
	i := sort.Search(len(o.counts), func(i int) bool { return o.counts[i].at.After(seen) })
	if i == 0 {
		return 0
	}
	return o.counts[i-1].n
}

// waiting returns how many tasks have no owner, or are about to have none.
func (m *model) waiting() int {
	n := m.stopping
	for _, t := range m.tasks {
		if t.owner == nil {
			n++
		}
	}
	return n
}

// load returns how many tasks each node has, by name.
func (m *model) load() []int {
	loads := make([]int, len(m.nodes))
	for i, n := range m.nodes {
		loads[i] = n.owned
	}
	return loads
}

// after makes f happen once d has passed.
func (m *model) after(d time.Duration, f func()) {
	heap.Push(&m.queue, event{at: time.Since(m.start) + d, number: m.queue.number, do: f})
	m.queue.number++
}

// pass lets time pass.
func (m *model) pass(d time.Duration) {
	m.passUntil(time.Now().Add(d), func() bool { return false })
}

// rounds lets all nodes balance so many times, and time pass after each.
func (m *model) rounds(n int, pause time.Duration) {
	for range n {
		m.balance()
		m.pass(pause)
	}
}

// settle lets time pass until no task waits, and reports how long it took. A
// model that does not get there within a limit has a fault.
func (m *model) settle(limit time.Duration) time.Duration {
	start := time.Now()
	m.passUntil(start.Add(limit), func() bool { return m.waiting() == 0 })
	if n := m.waiting(); n > 0 {
		m.faultf("%d tasks still wait after %v", n, limit)
	}
	took := time.Since(start)
	m.pass(time.Second)
	return took
}

func (m *model) passUntil(end time.Time, done func() bool) {
	for len(m.queue.list) > 0 {
		at := m.start.Add(m.queue.list[0].at)
		if at.After(end) {
			break
		}
		if wait := time.Until(at); wait > 0 {
			if done() {
				return
			}
			time.Sleep(wait)
		}
		heap.Pop(&m.queue).(event).do()
	}
	if !done() {
		time.Sleep(time.Until(end))
	}
}

type event struct {
	at     time.Duration
	number int
	do     func()
}

// events is a heap, ordered by time and then by the order of their making.
type events struct {
	list   []event
	number int
}

func (e *events) Len() int { return len(e.list) }

func (e *events) Less(i, j int) bool {
	a, b := e.list[i], e.list[j]
	return a.at < b.at || a.at == b.at && a.number < b.number
}

func (e *events) Swap(i, j int) { e.list[i], e.list[j] = e.list[j], e.list[i] }

func (e *events) Push(x any) { e.list = append(e.list, x.(event)) }

func (e *events) Pop() any {
	last := len(e.list) - 1
	x := e.list[last]
	e.list = e.list[:last]
	return x
}
