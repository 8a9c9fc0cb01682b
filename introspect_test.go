package metafora_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
)

func TestNodeDescribesItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := newFake()
		let := make(held)
		fake.onClaim = let.claim("claiming")
		fake.onDone = hangs
		fake.submit("running", "claiming", "refused", "settling")
		b := newRefuses(map[string]time.Time{"refused": time.Now().Add(time.Hour)})
		c := newConsumer(t, newFake(), untilStopped)
		if !c.Started().IsZero() {
			t.Errorf("started %v before Run", c.Started())
		}
		n := start(t, fake, func(task metafora.Task) metafora.Handler {
			if task.ID() == "settling" {
				return handler{run: func(context.Context) bool { return true }}
			}
			return untilStopped(task)
		}, b)
		if !n.Started().Equal(time.Now()) || n.Name() != "node" {
			t.Errorf("started %v, named %q", n.Started(), n.Name())
		}
		if want := (metafora.Counts{Running: 1, Settling: 1, Claiming: 1, Deferred: 1}); n.Counts() != want {
			t.Errorf("counts %+v, want %+v", n.Counts(), want)
		}
		for id, runs := range map[string]bool{"running": true, "settling": false, "claiming": false, "refused": false, "absent": false} {
			if r, ok := n.Task(id); ok != runs || ok && r != n.Tasks()[0] {
				t.Errorf("task %s: %v %+v", id, ok, r)
			}
		}
		want := func(line string) {
			t.Helper()
			if n.String() != line {
				t.Errorf("%q, want %q", n.String(), line)
			}
		}
		for id, runs := range map[string]bool{"running": true, "settling": false, "claiming": false, "refused": false, "ghost": false} {
			if r, ok := n.Task(id); ok != runs || (ok && (r.ID() != id || r.Claim.TaskID != id)) {
				t.Errorf("task %q: %+v %t, want %t", id, r, ok, runs)
			}
		}
		want("node node: 1 running, 1 claiming, 1 deferred")
		n.command(metafora.Freeze())
		want("node node: 1 running, 1 claiming, 1 deferred, frozen")
		n.command(metafora.Drain())
		want("node node: 0 running, 1 claiming, 1 deferred, draining")
		close(let)
	})
}
