package simtest_test

import (
	"flag"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/simtest"
)

var large = flag.Bool("large", false, "restart 200 nodes with 20,000 tasks, in place of 20 with 1,000")

// claims counts what all nodes claim.
type claims struct {
	metafora.NopObserver
	tried, won atomic.Int64
}

func (c *claims) Claimed(_ metafora.Task, r metafora.ClaimResult, _ time.Duration) {
	c.tried.Add(1)
	if r == metafora.ClaimWon {
		c.won.Add(1)
	}
}

// TestRollingRestart restarts the nodes of a cluster one after the other.
func TestRollingRestart(t *testing.T) {
	nodes, tasks := 20, 1_000
	if *large {
		nodes, tasks = 200, 20_000
	}
	ids := make([]string, tasks)
	for i := range ids {
		ids[i] = fmt.Sprintf("task-%05d", i)
	}
	var c claims
	cfg := simtest.Config{Nodes: nodes, Coarse: true, Options: []metafora.Option{metafora.WithObserver(&c)}}
	began := time.Now()
	simtest.Script(t, cfg, func(s *simtest.Sim) {
		s.Start()
		s.Flow()
		s.Submit(ids...)
		waits := func(id string) bool { node, _ := s.Owner(id); return node == "" }
		first := 0 // the one that waits is most likely to wait still
		allRun := func() bool {
			if waits(ids[first]) {
				return false
			}
			first = max(0, slices.IndexFunc(ids, waits))
			return !waits(ids[first])
		}
		s.Until("all run", allRun)
		report := func(when string, n int) {
			counts := make(map[string]int)
			for _, id := range ids {
				node, _ := s.Owner(id)
				counts[node]++
			}
			most := 0
			for _, n := range counts {
				most = max(most, n)
			}
			t.Logf("%s: %.3f attempts to claim and %.3f claims a task; the fullest of %d nodes has %d tasks, the average is %.1f",
				when, float64(c.tried.Swap(0))/float64(tasks), float64(c.won.Swap(0))/float64(tasks), len(counts), most, float64(tasks)/float64(n))
		}
		report("at the start", nodes)
		for _, n := range s.Nodes() {
			s.Shutdown(n)
			s.Until(n+" has left", func() bool { return !s.Up(n) })
			s.Restart(n)
			s.Until("all run", allRun)
		}
		s.Advance(time.Minute)
		report("rolling restart", nodes)
		s.Settle()
	})
	t.Logf("took %v", time.Since(began).Round(time.Millisecond))
}
