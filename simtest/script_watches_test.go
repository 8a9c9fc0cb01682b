package simtest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/simtest"
)

// etcd v2 called it "expired index": a watch that was away has to go on at a
// revision that was compacted.
func TestWatchFindsItsHistoryCompacted(t *testing.T) {
	simtest.Script(t, eager(2), func(s *simtest.Sim) {
		s.Start()
		s.Flow()
		s.Deafen("b")
		s.Submit("t1")
		s.Until("a runs t1", runsOn(s, "t1", "a"))
		s.Hear("b")
		s.Flow()
		s.Partition("b")
		s.Command("a", metafora.Drain())
		s.Until("a has released t1", func() bool { node, _ := s.Owner("t1"); return node == "" })
		s.Submit("t2")
		s.Compact()
		s.Heal("b")
		s.Until("b runs both", func() bool { return runsOn(s, "t1", "b")() && runsOn(s, "t2", "b")() })
		s.Settle()
	})
}

// A task goes while a watch is away and history is compacted: nobody may go on
// believing in it.
func TestTaskGoesWithItsHistory(t *testing.T) {
	simtest.Script(t, eager(2), func(s *simtest.Sim) {
		s.Start()
		s.Flow()
		s.Deafen("b")
		s.Submit("t1")
		s.Until("a runs t1", runsOn(s, "t1", "a"))
		s.Hear("b")
		s.Flow()
		s.Partition("b")
		s.Return("t1", true)
		s.Until("t1 is done", gone(s, "t1"))
		s.Compact()
		s.Heal("b")
		s.Settle()
	})
}

// watcher claims nothing, and notes what it was asked about.
type watcher struct{ asked map[string]bool }

func (*watcher) Init(metafora.BalancerContext) {}
func (w *watcher) CanClaim(t metafora.Task) (time.Time, bool) {
	w.asked[t.ID()] = true
	return time.Now().Add(time.Hour), false
}
func (*watcher) Balance() []string { return nil }

// History is compacted between two pages of the first list, which were to be of one
// revision: the list begins again, and misses nothing.
func TestCompactionDuringTheFirstList(t *testing.T) {
	const tasks = 2100 // one page has 2000 keys
	w := &watcher{asked: make(map[string]bool)}
	cfg := simtest.Config{Nodes: 1, Balancer: func(metafora.ClusterState) metafora.Balancer { return w }}
	simtest.Script(t, cfg, func(s *simtest.Sim) {
		submitted := s.Do("submit many", func(ctx context.Context, c simtest.Client) error {
			var list []metafora.Task
			for i := range tasks {
				list = append(list, metafora.NewTask(fmt.Sprintf("many%04d", i)))
			}
			return c.SubmitTasks(ctx, list)
		})
		s.Flow()
		if err, ok := submitted(); !ok || err != nil {
			s.Fatalf("submitted: %t, %v", ok, err)
		}
		s.Start()
		s.Hold("a", simtest.OpList, "nodes").Pass()
		s.Hold("a", simtest.OpList, "commands").Pass()
		s.Hold("a", simtest.OpList, "tasks").Pass()
		second := s.Hold("a", simtest.OpList, "")
		s.Submit("last")
		s.Compact()
		second.Pass()
		s.Until("a knows all tasks", func() bool { return len(w.asked) == tasks+1 })
	})
}

// The watch of a node that has handed a task back tells it of that before the reply
// to its Release comes.
func TestWatchIsFasterThanTheReplyToARelease(t *testing.T) {
	simtest.Script(t, simtest.Config{Nodes: 1}, func(s *simtest.Sim) {
		s.Start()
		s.Submit("t1")
		s.Until("a runs t1", runsOn(s, "t1", "a"))
		s.Return("t1", false)
		release := s.Hold("a", simtest.OpRelease, "t1")
		release.Answer()
		s.Flow()
		release.Pass()
		s.Until("a runs t1 again", runsOn(s, "t1", "a"))
		s.Settle()
	})
}
