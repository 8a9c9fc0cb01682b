package main

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
)

// onServer runs f with an etcd of its own and what that can do without the
// library.
func onServer(ctx context.Context, o options, f func(ctx context.Context, s *server, raw float64) ([]figure, error)) ([]figure, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	s, err := startServer(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	raw, err := s.rawClaims(ctx, o.Tasks)
	if err != nil {
		return nil, err
	}
	return f(ctx, s, raw)
}

// submitAndDone submits tasks, and has a node run them to their end at once.
func submitAndDone(ctx context.Context, o options) ([]figure, error) {
	return onServer(ctx, o, func(ctx context.Context, s *server, raw float64) ([]figure, error) {
		begun := time.Now()
		client, err := submit(ctx, s.cli, o.Tasks)
		if err != nil {
			return nil, err
		}
		submitted := perSecond(o.Tasks, begun)

		r := newRunning(o.Tasks)
		release := make(chan struct{})
		h := metafora.SimpleHandler(func(_ context.Context, t metafora.Task, _ <-chan struct{}) bool {
			r.enter(t)
			<-release
			return true
		})
		n, err := startNode(ctx, s.cli, "a", true, func(*etcd.Coordinator) metafora.HandlerFunc { return h })
		if err != nil {
			return nil, err
		}
		if err := r.wait(ctx); err != nil {
			return nil, err
		}
		begun = time.Now()
		close(release)
		for n.coord.Stats().Tasks > 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		done := perSecond(o.Tasks, begun)
		left, err := client.Tasks(ctx)
		if err != nil {
			return nil, err
		}
		if len(left) > 0 {
			return nil, fmt.Errorf("%d tasks are left", len(left))
		}
		return []figure{
			{"SubmitTasks", "tasks/s", ">= 20000", submitted, raw},
			{"Done", "tasks/s", ">= 10000", done, raw},
		}, n.stop()
	})
}

// massStart lets nodes loose on waiting tasks.
func massStart(ctx context.Context, o options) ([]figure, error) {
	var all []figure
	for _, nodes := range []int{1, 4, 16} {
		figures, err := onServer(ctx, o, func(ctx context.Context, s *server, raw float64) ([]figure, error) {
			return massStartOf(ctx, s, raw, nodes, o.Tasks)
		})
		if err != nil {
			return nil, err
		}
		all = append(all, figures...)
	}
	return all, nil
}

func massStartOf(ctx context.Context, s *server, raw float64, count, tasks int) ([]figure, error) {
	if _, err := submit(ctx, s.cli, tasks); err != nil {
		return nil, err
	}
	before, err := s.counters(ctx)
	if err != nil {
		return nil, err
	}
	connections, err := s.dial(ctx, count)
	if err != nil {
		return nil, err
	}
	r := newRunning(tasks)
	begun := time.Now()
	nodes, err := startNodes(ctx, connections, r)
	if err != nil {
		return nil, err
	}
	if err := r.wait(ctx); err != nil {
		return nil, err
	}
	rate := perSecond(tasks, begun)
	after, err := s.countersLater(ctx)
	if err != nil {
		return nil, err
	}
	// Nodes that joined a moment later got some of the first one's tasks.
	claims := float64(r.starts.Load())
	each := func(n float64) float64 { return n / claims }
	figures := []figure{
		{fmt.Sprintf("claimed by %d", count), "tasks/s", map[int]string{1: ">= 15000", 4: ">= 10000"}[count], rate, raw},
		{fmt.Sprintf("proposals by %d", count), "per claim", "<= 0.1", each(after.proposals - before.proposals), 0},
		{fmt.Sprintf("Range requests by %d", count), "per claim", "< 0.01", each(after.requests["Range"] - before.requests["Range"]), 0},
	}
	if count > 1 {
		most := 0
		for _, n := range nodes {
			most = max(most, n.consumer.Counts().Running)
		}
		figures = append(figures,
			figure{fmt.Sprintf("claims sent by %d", count), "per claim won", "", each(claimsSent(nodes)), 0},
			figure{fmt.Sprintf("claims won by %d", count), "per task", "", claims / float64(tasks), 0},
			figure{fmt.Sprintf("fullest of %d", count), "of average", "", float64(most*count) / float64(tasks), 0})
	}
	return figures, stopAll(nodes)
}

// claimsSent returns how many claims the nodes have sent to etcd, those lost to
// another node included.
func claimsSent(nodes []*node) float64 {
	var n int64
	for _, node := range nodes {
		stats := node.coord.Stats()
		n += stats.ClaimsTried - stats.ClaimsRefused
	}
	return float64(n)
}

// startNodes runs a node on each of some connections, which are closed with them.
func startNodes(ctx context.Context, connections []*clientv3.Client, r *running) ([]*node, error) {
	var nodes []*node
	for i, cli := range connections {
		alone := len(connections) == 1
		n, err := startNode(ctx, cli, fmt.Sprintf("node-%02d", i), alone, func(*etcd.Coordinator) metafora.HandlerFunc { return waiter(r) })
		if err != nil {
			return nil, err
		}
		n.own = cli
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// trickle submits tasks one by one to 16 idle nodes.
func trickle(ctx context.Context, o options) ([]figure, error) {
	const count = 16
	n := min(o.Tasks, 500)
	return onServer(ctx, o, func(ctx context.Context, s *server, _ float64) ([]figure, error) {
		connections, err := s.dial(ctx, count)
		if err != nil {
			return nil, err
		}
		r := newRunning(n)
		nodes, err := startNodes(ctx, connections, r)
		if err != nil {
			return nil, err
		}
		client, err := etcd.NewClient(s.cli, etcd.Options{Namespace: namespace})
		if err != nil {
			return nil, err
		}
		for {
			ns, err := client.Nodes(ctx)
			if err != nil {
				return nil, err
			}
			if len(ns) == count {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		before, err := s.counters(ctx)
		if err != nil {
			return nil, err
		}
		var took []float64
		for i, t := range tasks(n) {
			begun := time.Now()
			if err := client.SubmitTask(ctx, t); err != nil {
				return nil, err
			}
			// One by one: the next when this one runs, or waits for its turn.
			for until := begun.Add(time.Second); r.tasks.Load() <= int64(i) && time.Now().Before(until); {
				time.Sleep(100 * time.Microsecond)
			}
			took = append(took, float64(time.Since(begun))/float64(time.Millisecond))
		}
		if err := r.wait(ctx); err != nil {
			return nil, err
		}
		after, err := s.countersLater(ctx)
		if err != nil {
			return nil, err
		}
		each := func(n float64) float64 { return n / float64(len(took)) }
		return []figure{
			{"proposals by 16, submission apart", "per task", "<= 1.2", each(after.proposals-before.proposals) - 1, 0},
			{"Range requests by 16", "per task", "< 0.01", each(after.requests["Range"] - before.requests["Range"]), 0},
			{"claims sent by 16", "per task", "", each(claimsSent(nodes)), 0},
			{"submission to handler", "ms", "", median(took), 0},
		}, stopAll(nodes)
	})
}

// footprint is what this process needs.
type footprint struct {
	bytes      float64
	goroutines int
}

func measureFootprint() footprint {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return footprint{bytes: float64(m.HeapInuse + m.StackInuse), goroutines: runtime.NumGoroutine()}
}

// idle has one node run many tasks that do nothing. The node is there before
// them, so that the figures are those of tasks alone.
func idle(ctx context.Context, o options) ([]figure, error) {
	return onServer(ctx, o, func(ctx context.Context, s *server, _ float64) ([]figure, error) {
		r := newRunning(o.Idle)
		n, err := startNode(ctx, s.cli, "a", true, func(*etcd.Coordinator) metafora.HandlerFunc { return waiter(r) })
		if err != nil {
			return nil, err
		}
		for len(n.coord.Nodes()) == 0 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		before := measureFootprint()
		if _, err := submit(ctx, s.cli, o.Idle); err != nil {
			return nil, err
		}
		if err := r.wait(ctx); err != nil {
			return nil, err
		}
		after := measureFootprint()
		other, err := s.idleRequests(ctx, 4*leaseTTL)
		if err != nil {
			return nil, err
		}
		return []figure{
			{"memory of an idle task", "bytes", "<= 4096", (after.bytes - before.bytes) / float64(o.Idle), 0},
			{"goroutines of an idle task", "", "<= 1", float64(after.goroutines-before.goroutines) / float64(o.Idle), 0},
			{fmt.Sprintf("requests of %d idle tasks but lease renewals", o.Idle), "in 20 s", "0", other, 0},
		}, n.stop()
	})
}

// idleRequests counts what etcd receives in a while, lease renewals apart, which
// must be among it.
func (s *server) idleRequests(ctx context.Context, d time.Duration) (float64, error) {
	before, err := s.counters(ctx)
	if err != nil {
		return 0, err
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	after, err := s.counters(ctx)
	if err != nil {
		return 0, err
	}
	var renewals, others float64
	for method, v := range after.requests {
		if method == "LeaseKeepAlive" {
			renewals += v - before.requests[method]
		} else {
			others += v - before.requests[method]
		}
	}
	if renewals == 0 {
		return 0, fmt.Errorf("etcd counted no lease renewal in %v", d)
	}
	return others, nil
}

// failover ends a node process that runs everything, and waits until another
// does: with SIGKILL, then with SIGTERM.
func failover(ctx context.Context, o options) ([]figure, error) {
	var figures []figure
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		f, err := onServer(ctx, o, func(ctx context.Context, s *server, _ float64) ([]figure, error) {
			return failoverBy(ctx, s, sig, o.Tasks)
		})
		if err != nil {
			return nil, err
		}
		figures = append(figures, f...)
	}
	return figures, nil
}

func failoverBy(ctx context.Context, s *server, sig syscall.Signal, tasks int) ([]figure, error) {
	if _, err := submit(ctx, s.cli, tasks); err != nil {
		return nil, err
	}
	victim, err := startChild("node", "METAFORA_BENCH_ETCD="+s.first, fmt.Sprint("METAFORA_BENCH_TASKS=", tasks))
	if err != nil {
		return nil, err
	}
	defer victim.kill()
	r := newRunning(tasks)
	// Neither node balances: the victim's end alone moves its tasks.
	heir, err := startNode(ctx, s.cli, "heir", true, func(*etcd.Coordinator) metafora.HandlerFunc { return waiter(r) })
	if err != nil {
		return nil, err
	}
	for heir.coord.Stats().Tasks < tasks && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	begun := time.Now()
	if err := victim.cmd.Process.Signal(sig); err != nil {
		return nil, err
	}
	if err := r.wait(ctx); err != nil {
		return nil, err
	}
	took := time.Since(begun).Seconds()
	f := figure{name: fmt.Sprintf("all of %d run elsewhere after %v", tasks, sig), unit: "s", value: took, target: "<= 3"}
	if sig == syscall.SIGKILL {
		f.target = fmt.Sprintf("<= TTL + 2 = %g", (leaseTTL + 2*time.Second).Seconds())
	}
	return []figure{f}, heir.stop()
}
