package backendtest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/metafora-go/metafora"
)

// node is a Coordinator under test, with what it said in the cluster's journal.
type node struct {
	metafora.Coordinator
	c          *cluster
	name       string
	goroutines goroutineGroup
	cutOff     bool         // until the end, so that Close may fail
	closed     atomic.Bool  // Close has returned
	late       atomic.Int64 // calls to the CoordinatorContext after that
}

// nodeContext is the CoordinatorContext of a node.
type nodeContext struct{ n *node }

func (nc nodeContext) Lost(cl metafora.Claim, cause error) {
	nc.say(event{kind: lost, id: cl.TaskID, claim: cl, cause: cause})
}

func (nc nodeContext) ClusterChanged() { nc.say(event{kind: changed}) }

func (nc nodeContext) say(e event) {
	if nc.n.closed.Load() {
		nc.n.late.Add(1)
	}
	e.node = nc.n
	nc.n.c.journal.add(e)
}

// open makes a node that has not joined yet. It is closed when the check ends.
func (c *cluster) open(name string, o NodeOptions) *node {
	c.t.Helper()
	c.opened++
	n := &node{
		Coordinator: c.NewCoordinator(c.t, name, o), c: c, name: name,
		goroutines: goroutineGroup{label: fmt.Sprintf("%s node %d", c.t.Name(), c.opened)},
	}
	c.t.Cleanup(n.finish)
	return n
}

// join makes a node, lets it join, and keeps it watching until the check ends.
func (c *cluster) join(name string, o NodeOptions) *node {
	c.t.Helper()
	n := c.joinBlind(name, o)
	n.watch()
	return n
}

// joinBlind is join without watching.
func (c *cluster) joinBlind(name string, o NodeOptions) *node {
	c.t.Helper()
	n := c.open(name, o)
	c.must(fmt.Sprintf("init of the node %q", name), n.init())
	return n
}

func (n *node) init() (err error) {
	n.goroutines.do(func() { err = n.Init(n.c.ctx, nodeContext{n}) })
	return err
}

// close closes the node and remembers that from now on it must be silent.
func (n *node) close() error {
	err := n.Close()
	n.closed.Store(true)
	return err
}

// finish closes the node and verifies what must hold whatever it went through.
func (n *node) finish() {
	t := n.c.t
	n.c.within(fmt.Sprintf("Close of the node %q", n.name), func() {
		if err := n.close(); err != nil && !n.cutOff {
			t.Errorf("node %q: Close: %v", n.name, err)
		}
	})
	if left := n.goroutines.left(n.Coordinator); left != "" {
		t.Errorf("node %q: goroutines are left after Close:\n%s", n.name, left)
	}
	if late := n.late.Load(); late > 0 {
		t.Errorf("node %q: called back %d times after Close returned", n.name, late)
	}
	times := make(map[metafora.Claim]int)
	for _, e := range n.c.journal.since(0, n.said(lost)) {
		times[e.claim]++
		if times[e.claim] == 2 {
			t.Errorf("node %q: Lost was called twice for the claim %v", n.name, e.claim)
		}
		if e.claim.Node != n.name {
			t.Errorf("node %q: Lost was called for the claim of another node, %v", n.name, e.claim)
		}
		if !errors.Is(e.cause, metafora.ErrLeaseLost) && !errors.Is(e.cause, metafora.ErrNotOwner) {
			t.Errorf("node %q: Lost was called for %v with the cause %v", n.name, e.claim, e.cause)
		}
	}
}

// watching is a call of Watch under way.
type watching struct {
	cancel context.CancelFunc
	done   chan struct{} // closed once Watch has returned
	err    error         // its result
}

// watchInto calls Watch in the background. It is ended when the check ends.
func (n *node) watchInto(tasks chan metafora.Task) *watching {
	ctx, cancel := context.WithCancel(n.c.ctx)
	w := &watching{cancel: cancel, done: make(chan struct{})}
	n.c.background.Go(func() {
		defer close(w.done)
		n.goroutines.do(func() { w.err = n.Watch(ctx, tasks) })
	})
	n.c.t.Cleanup(cancel)
	return w
}

// watch calls Watch in the background and notes what is announced.
func (n *node) watch() *watching {
	tasks := make(chan metafora.Task)
	w := n.watchInto(tasks)
	n.note(tasks, w)
	return w
}

// note notes, in the background, what a Watch announces.
func (n *node) note(tasks <-chan metafora.Task, w *watching) {
	n.c.background.Go(func() {
		for {
			select {
			case t := <-tasks:
				n.c.journal.add(event{kind: announced, node: n, id: t.ID(), task: t})
			case <-w.done:
				return
			}
		}
	})
}

// stop ends Watch and returns its result.
func (w *watching) stop(c *cluster) error {
	c.t.Helper()
	w.cancel()
	return w.wait(c)
}

// wait waits until Watch returns and returns its result.
func (w *watching) wait(c *cluster) error {
	c.t.Helper()
	receive(c, "the end of Watch", w.done)
	return w.err
}

// said matches the events of one kind of this node, for these IDs or for any.
func (n *node) said(kind eventKind, ids ...string) func(event) bool {
	return func(e event) bool {
		if e.node != n || e.kind != kind {
			return false
		}
		for _, id := range ids {
			if id == e.id {
				return true
			}
		}
		return len(ids) == 0
	}
}

// awaitTask waits until a task was announced to this node since mark.
func (n *node) awaitTask(mark int, id string) metafora.Task {
	n.c.t.Helper()
	return n.c.awaitEvent(mark, fmt.Sprintf("task %q is announced to node %q", id, n.name), n.said(announced, id)).task
}

// awaitTasks waits until all these tasks were announced to this node since mark.
func (n *node) awaitTasks(mark int, ids []string) {
	n.c.t.Helper()
	missing := make(map[string]bool, len(ids))
	for _, id := range ids {
		missing[id] = true
	}
	n.c.await(fmt.Sprintf("%d tasks, %q and so on, are announced to node %q", len(ids), ids[0], n.name), func() bool {
		from := mark
		mark = n.c.journal.mark()
		for _, e := range n.c.journal.since(from, n.said(announced)) {
			delete(missing, e.id)
		}
		return len(missing) == 0
	})
}

// awaitLost waits until this node reported a claim lost.
func (n *node) awaitLost(cl metafora.Claim) event {
	n.c.t.Helper()
	return n.c.awaitEvent(0, fmt.Sprintf("node %q reports %v lost", n.name, cl), func(e event) bool {
		return n.said(lost, cl.TaskID)(e) && e.claim == cl
	})
}

// awaitClaimable waits until this node's local knowledge says whether a task can
// be claimed.
func (n *node) awaitClaimable(id string, want bool) {
	n.c.t.Helper()
	n.c.await(fmt.Sprintf("Claimable(%q) of node %q is %t", id, n.name, want), func() bool {
		return n.Claimable(id) == want
	})
}

// take claims a task as soon as this node can.
func (n *node) take(id string) metafora.Claim {
	n.c.t.Helper()
	n.awaitTask(0, id)
	var claim metafora.Claim
	var err error
	n.c.await(fmt.Sprintf("node %q claims task %q", n.name, id), func() bool {
		seen := n.c.journal.since(0, n.said(announced, id))
		claim, err = n.Claim(n.c.ctx, seen[len(seen)-1].task)
		if err != nil && !mayHelpLater(err) {
			n.c.t.Fatalf("node %q: claim %q: %v", n.name, id, err)
		}
		return err == nil
	})
	return claim
}

// mayHelpLater reports whether err says that a claim may succeed when what this
// node knows, or its lease, has caught up.
func mayHelpLater(err error) bool {
	return errors.Is(err, metafora.ErrClaimed) || errors.Is(err, metafora.ErrNoTask) || errors.Is(err, metafora.ErrLeaseLost)
}

// takeAll claims many tasks, concurrently, and returns the claims in their order.
func (n *node) takeAll(ids []string) []metafora.Claim {
	n.c.t.Helper()
	n.awaitTasks(0, ids)
	claims := make([]metafora.Claim, len(ids))
	n.c.parallel(len(ids), func(i int) error {
		var err error
		claims[i], err = n.Claim(n.c.ctx, metafora.NewTask(ids[i]))
		return err
	})
	return claims
}

// command returns the node's next command.
func (n *node) command() (metafora.Command, error) {
	ctx, cancel := context.WithTimeout(n.c.ctx, n.c.h.Patience)
	defer cancel()
	return n.Command(ctx)
}

// state returns the node's view of its cluster, and skips the check if it has none.
func (n *node) state() metafora.ClusterState {
	n.c.t.Helper()
	s, ok := n.Coordinator.(metafora.ClusterState)
	n.c.need("a Coordinator that is a metafora.ClusterState", ok)
	return s
}

// lease returns the node's lease, and skips the check if it has none.
func (n *node) lease() metafora.LeaseHolder {
	n.c.t.Helper()
	l, ok := n.Coordinator.(metafora.LeaseHolder)
	n.c.need("a Coordinator that is a metafora.LeaseHolder", ok)
	return l
}
