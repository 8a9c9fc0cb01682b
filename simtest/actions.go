package simtest

import (
	"context"
	"fmt"
	"strings"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// Crash ends a node's process without goodbye, as kill -9 does.
func (s *Sim) Crash(node string) {
	inc := s.incarnation(node)
	s.act("crash of "+inc.String(), func() { s.crash(inc) })
}

// Restart starts a process for a node whose last one has crashed or left. It takes
// the node's name back once the old lease is gone.
func (s *Sim) Restart(node string) {
	n := s.node(node)
	if n.inc != nil && !n.inc.left() {
		s.Fatalf("node %q still runs", node)
	}
	s.started = true
	s.act("restart of "+node, func() { s.start(n) })
}

// Pause makes a node's process stand still, as SIGSTOP does, until Resume.
func (s *Sim) Pause(node string) {
	inc := s.incarnation(node)
	if !inc.paused {
		s.act(node+" stands still", func() { s.pause(inc) })
	}
}

// Resume undoes Pause.
func (s *Sim) Resume(node string) {
	if inc := s.incarnation(node); inc.paused {
		s.act(node+" goes on", func() { s.resume(inc) })
	}
}

// Partition cuts a node off from the broker until Heal. Its requests wait, and
// its watches are silent.
func (s *Sim) Partition(node string) {
	inc := s.incarnation(node)
	if !inc.cut {
		s.act(node+" is cut off", func() { s.cutOff(inc) })
	}
}

// Heal undoes Partition.
func (s *Sim) Heal(node string) {
	if inc := s.incarnation(node); inc.cut {
		s.act(node+" is connected again", func() { s.heal(inc) })
	}
}

// Shutdown asks a node to leave gracefully. It has left some time after that.
func (s *Sim) Shutdown(node string) {
	inc := s.incarnation(node)
	inc.leaving = true
	s.act(node+" is asked to leave", inc.stop)
}

// Revoke ends the lease of a node at the broker, as an operator can. It reports
// whether the node had one.
func (s *Sim) Revoke(node string) bool {
	return s.operate("lease of "+node+" is revoked", func() bool { return s.broker.revoke(node) })
}

// DeleteOwner ends the claim on a task at the broker, as an operator can. It
// reports whether the task had an owner.
func (s *Sim) DeleteOwner(id string) bool {
	return s.operate("owner of "+id+" is deleted", func() bool { return s.broker.deleteOwner(id) })
}

// operate has an operator do something at the broker.
func (s *Sim) operate(text string, f func() bool) (ok bool) {
	s.actor = actor{kind: byOperator}
	defer func() { s.actor = actor{} }()
	s.act(text, func() { ok = f() })
	return ok
}

// Compact drops the broker's history up to now.
func (s *Sim) Compact() { s.CompactBut(0) }

// CompactBut drops the broker's history but for the last so many revisions. Package
// memory has none to keep: it drops all.
func (s *Sim) CompactBut(revisions int) {
	text := "history is compacted"
	if revisions > 0 {
		text += fmt.Sprintf(" but for the last %d revisions", revisions)
	}
	s.act(text, func() { s.broker.compact(revisions) })
}

// Submit submits tasks, in order but for a coarse simulation, which submits all at
// once. It takes effect at once.
func (s *Sim) Submit(ids ...string) {
	if s.cfg.Coarse {
		s.submit(ids...)
		return
	}
	for _, id := range ids {
		s.submit(id)
	}
}

func (s *Sim) submit(ids ...string) {
	tasks := make([]metafora.Task, len(ids))
	var answered []func(error, uint64)
	for i, id := range ids {
		tasks[i] = s.newTask(id)
		answered = append(answered, s.history.begin(nil, submitTask, id, 0))
	}
	what := "submit " + strings.Join(ids[:min(len(ids), 5)], ", ")
	if more := len(ids) - 5; more > 0 {
		what += fmt.Sprintf(" and %d more", more)
	}
	s.must(what, func(ctx context.Context, c Client) error { return c.SubmitTasks(ctx, tasks) })
	for i, id := range ids {
		answered[i](nil, 0)
		r := s.ledger.task(id)
		r.acked = r.submission
	}
}

// Delete deletes a task. It takes effect at once.
func (s *Sim) Delete(id string) {
	end := s.history.begin(nil, deleteTask, id, 0)
	defer func() { end(nil, 0) }()
	s.must("delete "+id, func(ctx context.Context, c Client) error { return c.DeleteTask(ctx, id) })
}

// Command sends a command to a node. The node gets it when the broker's news
// reaches it.
func (s *Sim) Command(node string, cmd metafora.Command) {
	s.sent++
	s.must(cmd.Name+" for "+node, func(ctx context.Context, c Client) error { return c.SubmitCommand(ctx, node, cmd) })
}

// Send sends a command to a stateful task.
func (s *Sim) Send(id string, m statemachine.Message) {
	s.must(fmt.Sprintf("%v for %s", m, id), func(ctx context.Context, c Client) error { return c.Send(ctx, id, m) })
}

func (s *Sim) must(what string, f func(context.Context, Client) error) {
	s.log("", nil, what)
	s.actor = actor{kind: byCall}
	err := f(context.Background(), s.broker.admin())
	s.observe()
	s.actor = actor{}
	if err != nil {
		s.Fatalf("%s: %v", what, err)
	}
	s.settle()
}
