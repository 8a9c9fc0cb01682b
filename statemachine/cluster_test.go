package statemachine_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/statemachine"
)

// fleet is a cluster whose nodes fail. Its one task is sent to sleep again and
// again, each time until a later time, so that its state tells which commands
// took effect, and in which order.
type fleet struct {
	t      *testing.T
	broker *memory.Broker
	nodes  []*metafora.Consumer // that were not killed
	names  []string             // of those nodes
	ended  chan error           // one for each node that was started
	begun  int                  // how many were
	sent   int                  // commands
	seen   int                  // the newest command that took effect
}

// wakeOf returns until when the nth command sends the task to sleep: so long that
// no test sees it wake.
func wakeOf(n int) time.Time { return time.Date(2100+n, 1, 1, 0, 0, 0, 0, time.UTC) }

func (f *fleet) start() {
	f.begun++
	name := fmt.Sprint("node-", f.begun)
	node, err := statemachine.NewConsumer(slowCoordinator{f.broker.Coordinator(name)}, statemachine.Config{
		Handler:  obey,
		Balancer: func(metafora.ClusterState) metafora.Balancer { return balance.All() },
		Consumer: []metafora.Option{metafora.WithSeed(1)},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.nodes, f.names = append(f.nodes, node), append(f.names, name)
	go func() { f.ended <- node.Run(context.Background()) }()
}

// slowCoordinator takes its time to store a state, so that things happen
// meanwhile, and again before the machine learns that it is stored.
type slowCoordinator struct{ *memory.Coordinator }

func (c slowCoordinator) StateStore() statemachine.StateStore {
	return slowStore{c.Coordinator.StateStore()}
}

type slowStore struct{ statemachine.StateStore }

func (s slowStore) Store(ctx context.Context, c metafora.Claim, state statemachine.State, handled uint64) error {
	time.Sleep(2 * time.Second)
	err := s.StateStore.Store(ctx, c, state, handled)
	time.Sleep(2 * time.Second)
	return err
}

// fault is something that happens to the fleet, often to one of its nodes.
type fault struct {
	kind   string
	number int
}

func drawFault(t *rapid.T) fault {
	return fault{
		kind: rapid.SampledFrom([]string{
			"send", "pause", "kill owner", "rest", "partition", "heal", "expire lease", "delete owner",
		}).Draw(t, "kind"),
		number: rapid.IntRange(0, 20).Draw(t, "number"),
	}
}

// happen returns what is wrong afterwards, or "".
func (f *fleet) happen(s fault) string {
	if s.kind == "rest" {
		return f.rest()
	}
	f.step(s)
	return f.look()
}

func (f *fleet) step(s fault) {
	i := s.number % len(f.nodes)
	if task, err := f.broker.Client().Task(f.t.Context(), "task"); s.kind == "kill owner" && err == nil {
		i = max(0, slices.Index(f.names, task.Owner))
	}
	switch s.kind {
	case "send":
		f.sent++
		if err := f.broker.Client().Send(f.t.Context(), "task", statemachine.Sleep(wakeOf(f.sent))); err != nil {
			f.t.Error(err)
		}
	case "kill owner":
		f.broker.Kill(f.names[i])
		f.nodes, f.names = slices.Delete(f.nodes, i, i+1), slices.Delete(f.names, i, i+1)
		f.start()
	case "partition":
		f.broker.Partition(f.names[i])
	case "heal":
		f.broker.Heal(f.names[i])
	case "expire lease":
		f.broker.ExpireLease(f.names[i])
	case "delete owner":
		f.broker.DeleteOwner("task")
	case "pause":
		time.Sleep(2 * time.Second)
	}
	synctest.Wait()
}

// rest ends the faults and returns what is wrong once nothing happens any more.
func (f *fleet) rest() string {
	for i := range f.nodes {
		f.step(fault{"heal", i})
	}
	time.Sleep(5 * time.Minute)
	synctest.Wait()
	if wrong := f.look(); wrong != "" {
		return wrong
	}
	if f.seen != f.sent {
		return "the newest command took no effect"
	}
	return ""
}

// look returns what is wrong with the state, or "".
func (f *fleet) look() string {
	state, err := f.broker.Client().State(f.t.Context(), "task")
	if err != nil {
		return ""
	}
	now := 0
	for i := 1; i <= f.sent; i++ {
		if state.Until.Equal(wakeOf(i)) {
			now = i
		}
	}
	switch {
	case now == 0:
		return "the state is none that a command leads to"
	case now < f.seen:
		return "an older command took effect after a newer one"
	}
	f.seen = now
	return ""
}

// pending reports whether the task, which nobody owns, has a command.
func (f *fleet) pending() bool {
	coord := f.broker.Coordinator("auditor")
	defer coord.Close()
	err := coord.Init(f.t.Context(), bystander{})
	if err != nil {
		f.t.Fatal(err)
	}
	claim, err := coord.Claim(f.t.Context(), metafora.NewTask("task"))
	if err != nil {
		f.t.Fatal(err)
	}
	commands, stop := coord.CommandListener().Listen(claim)
	defer stop()
	return len(commands) > 0
}

// bystander is a CoordinatorContext that does nothing.
type bystander struct{}

func (bystander) Lost(metafora.Claim, error) {}
func (bystander) ClusterChanged()            {}

// stop ends all nodes that are left.
func (f *fleet) stop() {
	for _, node := range f.nodes {
		node.Shutdown()
	}
	for ; f.begun > 0; f.begun-- {
		<-f.ended // Those that were killed end with an error.
	}
}

func TestNewestCommandWinsHoweverNodesFail(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// Long histories: it takes several things in a row to lose a command.
		steps := rapid.SliceOfN(rapid.Custom(drawFault), 30, 60).Draw(rt, "steps")
		var wrong string
		synctest.Test(t, func(t *testing.T) {
			f := &fleet{t: t, broker: memory.NewBroker(), ended: make(chan error, 3+len(steps))}
			if err := f.broker.Client().SubmitTask(t.Context(), metafora.NewTask("task")); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				f.start()
			}
			for _, s := range append(steps, fault{"rest", 0}) {
				if wrong = f.happen(s); wrong != "" {
					break
				}
			}
			f.stop()
			if wrong == "" && f.pending() {
				wrong = "a command is pending that took effect"
			}
		})
		if wrong != "" {
			rt.Fatalf("%s", wrong)
		}
	})
}
