package balance_test

import (
	"context"
	"flag"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
)

func TestMain(m *testing.M) {
	if raceEnabled {
		// Models run on one goroutine each. To the race detector there is nothing to
		// find in them, and they take ten times as long with it.
		if err := flag.Set("rapid.checks", "10"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// cluster is one of real Consumers on a broker in memory, in a bubble.
type cluster struct {
	*testing.T
	broker *memory.Broker
	client *memory.Client
	nodes  map[string]*clusterNode
	counts
}

// counts counts what all Consumers did since it was last reset.
type counts struct {
	metafora.NopObserver
	tried, won, released atomic.Int64
}

func (c *counts) Claimed(_ metafora.Task, result metafora.ClaimResult, _ time.Duration) {
	c.tried.Add(1)
	if result == metafora.ClaimWon {
		c.won.Add(1)
	}
}

func (c *counts) Released(metafora.Claim) { c.released.Add(1) }

func (c *counts) reset() {
	c.tried.Store(0)
	c.won.Store(0)
	c.released.Store(0)
}

type clusterNode struct {
	consumer *metafora.Consumer
	ended    chan error
}

func inCluster(t *testing.T, nodes, tasks int, f func(c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		c := &cluster{T: t, broker: b, client: b.Client(), nodes: make(map[string]*clusterNode)}
		for i := range nodes {
			c.start(fmt.Sprintf("node-%02d", i))
		}
		time.Sleep(5 * time.Second)
		c.submit(tasks)
		c.settle()
		f(c)
		for name := range c.nodes {
			c.stop(name)
		}
	})
}

// distant is a Coordinator of a broker that is not in memory.
type distant struct{ *memory.Coordinator }

func (d distant) Claim(ctx context.Context, t metafora.Task) (metafora.Claim, error) {
	time.Sleep(2 * time.Millisecond)
	claim, err := d.Coordinator.Claim(ctx, t)
	time.Sleep(2 * time.Millisecond)
	return claim, err
}

func (c *cluster) start(name string, opts ...memory.Option) {
	c.Helper()
	coord := distant{c.broker.Coordinator(name, opts...)}
	wait := metafora.SimpleHandler(func(ctx context.Context, _ metafora.Task, stop <-chan struct{}) bool {
		select {
		case <-stop:
			time.Sleep(100 * time.Millisecond) // there is something to put away
		case <-ctx.Done():
		}
		return false
	})
	consumer, err := metafora.NewConsumer(coord, wait, balance.NewRendezvous(coord), metafora.WithObserver(&c.counts), metafora.WithSeed(1))
	if err != nil {
		c.Fatal(err)
	}
	n := &clusterNode{consumer, make(chan error, 1)}
	c.nodes[name] = n
	go func() { n.ended <- consumer.Run(c.Context()) }()
}

// stop shuts a node down.
func (c *cluster) stop(name string) {
	c.Helper()
	n := c.nodes[name]
	delete(c.nodes, name)
	n.consumer.Shutdown()
	if err := <-n.ended; err != nil {
		c.Error(err)
	}
}

func (c *cluster) submit(n int) { c.Helper(); c.submitMore(0, n) }

// submitMore submits n tasks with numbers from first on.
func (c *cluster) submitMore(first, n int) {
	c.Helper()
	var tasks []metafora.Task
	for i := first; i < first+n; i++ {
		tasks = append(tasks, metafora.NewTask(fmt.Sprintf("task-%d", i)))
	}
	if err := c.client.SubmitTasks(c.Context(), tasks); err != nil {
		c.Fatal(err)
	}
}

// settle lets several rounds of balancing pass.
func (c *cluster) settle() { time.Sleep(5 * time.Minute) }

// owners returns who owns each task. All must be owned by a node that runs them.
func (c *cluster) owners() map[string]string {
	c.Helper()
	owners := make(map[string]string)
	for name, n := range c.nodes {
		for _, t := range n.consumer.Tasks() {
			if other, twice := owners[t.ID()]; twice {
				c.Errorf("%s runs on %s and on %s", t.ID(), other, name)
			}
			owners[t.ID()] = name
		}
	}
	ids, err := c.client.Tasks(c.Context())
	if err != nil {
		c.Fatal(err)
	}
	if len(owners) != len(ids) {
		c.Errorf("%d of %d tasks run", len(owners), len(ids))
	}
	return owners
}

// changed counts the tasks with another owner than before.
func changed(before, after map[string]string) int {
	n := 0
	for id, owner := range after {
		if before[id] != owner {
			n++
		}
	}
	return n
}

// checkEven checks that each node has about its share, up to some times it.
func (c *cluster) checkEven(tasks int, factor float64) {
	c.Helper()
	share := float64(tasks) / float64(len(c.nodes))
	least, most := int(share/loadFactor/loadFactor), int(math.Ceil(share*factor))
	for name, n := range c.nodes {
		if got := n.consumer.Counts().Running; got < least || got > most {
			c.Errorf("%s has %d tasks, the share is %.1f", name, got, share)
		}
	}
}

// checkTried checks that nodes did not lose many claims to one another.
func (c *cluster) checkTried() {
	c.Helper()
	if tried, won := c.tried.Load(), c.won.Load(); tried > won+won/20 {
		c.Errorf("%d claims were tried for %d tasks", tried, won)
	}
}

func TestConsumersShareNewTasksAtOneClaimEach(t *testing.T) {
	for _, nodes := range []int{1, 2, 8, 20} {
		t.Run(fmt.Sprintf("%d nodes", nodes), func(t *testing.T) {
			const tasks = 400
			inCluster(t, nodes, tasks, func(c *cluster) {
				c.owners()
				c.checkEven(tasks, loadFactor)
				c.checkTried()
				if won, released := c.won.Load(), c.released.Load(); won != tasks || released > 0 {
					t.Errorf("%d claims and %d releases of %d tasks", won, released, tasks)
				}
			})
		})
	}
}

// The node that wins the first does not win all: it balances as others join.
func TestConsumerThatJoinsGetsItsShareSoon(t *testing.T) {
	const tasks = 300
	inCluster(t, 1, tasks, func(c *cluster) {
		for i := range 5 {
			before := c.owners()
			c.reset()
			joined := fmt.Sprintf("joined-%d", i)
			c.start(joined)
			time.Sleep(10 * time.Second)
			after := c.owners()
			c.checkEven(tasks, loadFactor*loadFactor)
			c.checkTried()
			got := c.nodes[joined].consumer.Counts().Running
			if n := changed(before, after); n != got || c.released.Load() != int64(got) {
				t.Errorf("%d tasks moved, %d were released, and %s has %d", n, c.released.Load(), joined, got)
			}
			c.settle()
			if n := changed(after, c.owners()); n > 0 {
				t.Errorf("%d tasks moved later", n)
			}
		}
	})
}

func TestTasksOfConsumerThatLeavesSpread(t *testing.T) {
	for _, nodes := range []int{2, 5, 12} {
		for how, leave := range map[string]func(*cluster, string){
			"shutdown": (*cluster).stop,
			"kill": func(c *cluster, name string) {
				n := c.nodes[name]
				delete(c.nodes, name)
				c.broker.Kill(name)
				<-n.ended
			},
			"drain": func(c *cluster, name string) {
				if err := c.client.SubmitCommand(c.Context(), name, metafora.Drain()); err != nil {
					c.Fatal(err)
				}
				time.Sleep(time.Second)
				c.stop(name)
			},
		} {
			t.Run(fmt.Sprintf("%s, %d nodes", how, nodes), func(t *testing.T) {
				const tasks = 240
				inCluster(t, nodes, tasks, func(c *cluster) {
					before := c.owners()
					c.reset()
					leaving := "node-01"
					orphans := c.nodes[leaving].consumer.Counts().Running
					leave(c, leaving)
					time.Sleep(time.Minute)
					after := c.owners()
					c.checkEven(tasks, loadFactor)
					c.checkTried()
					if n := changed(before, after); n != orphans {
						t.Errorf("%d tasks moved, the node had %d", n, orphans)
					}
					c.settle()
					if n := changed(after, c.owners()); n > 0 {
						t.Errorf("%d tasks moved later", n)
					}
				})
			})
		}
	}
}

func TestConsumersClaimWhatTricklesInAtOneTryEach(t *testing.T) {
	inCluster(t, 16, 0, func(c *cluster) {
		const tasks = 200
		for i := range tasks {
			if err := c.client.SubmitTask(t.Context(), metafora.NewTask(fmt.Sprintf("task-%d", i))); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
			if won := c.won.Load(); won != int64(i+1) {
				t.Fatalf("after %d tasks %d are claimed", i+1, won)
			}
		}
		c.checkEven(tasks, loadFactor)
		if tried := c.tried.Load(); tried != tasks {
			t.Errorf("%d claims were tried for %d tasks", tried, tasks)
		}
	})
}

func TestFrozenConsumerIsLeftAsideUntilItIsUnfrozen(t *testing.T) {
	const tasks = 100
	inCluster(t, 4, tasks, func(c *cluster) {
		frozen := c.nodes["node-02"].consumer
		had := frozen.Counts().Running
		if err := c.client.SubmitCommand(t.Context(), "node-02", metafora.Freeze()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		before := c.owners()
		c.reset()
		c.submitMore(tasks, tasks)
		time.Sleep(100 * time.Millisecond)
		if n := changed(before, c.owners()); n != tasks || frozen.Counts().Running != had {
			t.Errorf("%d of %d new tasks run, the frozen node has %d, and had %d", n, tasks, frozen.Counts().Running, had)
		}
		c.checkTried()
		if err := c.client.SubmitCommand(t.Context(), "node-02", metafora.Unfreeze()); err != nil {
			t.Fatal(err)
		}
		c.settle()
		c.owners()
		c.checkEven(2*tasks, loadFactor*loadFactor)
	})
}

func TestConsumersShareByWeight(t *testing.T) {
	const tasks = 400
	inCluster(t, 0, 0, func(c *cluster) {
		c.start("small")
		c.start("large", memory.WithWeight(3))
		time.Sleep(time.Second)
		c.submit(tasks)
		c.settle()
		c.owners()
		if got := c.nodes["small"].consumer.Counts().Running; got < 90 || got > 110 {
			t.Errorf("the small node has %d of %d tasks", got, tasks)
		}
		c.checkTried()
		c.start("huge", memory.WithWeight(4))
		time.Sleep(10 * time.Second)
		c.owners()
		if got := c.nodes["huge"].consumer.Counts().Running; got < 140 || got > 200 {
			t.Errorf("the node that joined has %d of %d tasks", got, tasks)
		}
	})
}
