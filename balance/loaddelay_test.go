package balance_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/balance"
)

func TestLoadDelayGrowsWithLoad(t *testing.T) {
	for _, c := range []struct {
		tasks       int
		least, most time.Duration
	}{
		{0, 0, 0},
		{1, 100 * time.Millisecond, 200 * time.Millisecond},
		{7, 700 * time.Millisecond, 800 * time.Millisecond},
		{5000, 3 * time.Second, 3 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := balance.NewLoadDelay(balance.WithPerTask(100*time.Millisecond), balance.WithMaxDelay(3*time.Second))
			b.Init(onNode{name: "a", tasks: make([]string, c.tasks)})
			start := time.Now()
			until, ok := b.CanClaim(metafora.NewTask(task))
			if !ok {
				time.Sleep(time.Until(until))
				if _, ok = b.CanClaim(metafora.NewTask(task)); !ok {
					t.Errorf("%d tasks: does not claim when it said it would", c.tasks)
				}
			}
			if waited := time.Since(start); waited < c.least || waited > c.most {
				t.Errorf("%d tasks: waited for %v, want %v to %v", c.tasks, waited, c.least, c.most)
			}
			if ids := b.Balance(); ids != nil {
				t.Errorf("releases %v", ids)
			}
		})
	}
}

func TestLoadDelaySpreadsTasks(t *testing.T) {
	const nodes, tasks = 5, 100
	newLoadDelay := func(*modelNode) metafora.Balancer { return balance.NewLoadDelay() }
	m := run(t, config{balancer: newLoadDelay}, func(m *model) {
		m.joinAll(nodes)
		for range tasks {
			m.submit(1)
			m.settle(time.Minute)
		}
	})
	m.check(t)
	if least, most := slices.Min(m.load()), slices.Max(m.load()); most-least > 2 {
		t.Errorf("the nodes have from %d to %d tasks", least, most)
	}
}
