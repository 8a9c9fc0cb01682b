package memory_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/backendtest"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/statemachine"
)

// Namespaces (Broker.Extend) and lost replies (Faults.LoseReply) are no notions
// of this backend.
func TestConformance(t *testing.T) {
	backendtest.Run(t, backendtest.Harness{
		NewBroker: newConformanceBroker,
		Isolate:   synctest.Test,
		Grace:     time.Minute,
		Patience:  5 * time.Minute,
		TooLarge:  1<<20 + 1,
	})
}

func newConformanceBroker(testing.TB) backendtest.Broker {
	b := memory.NewBroker()
	return backendtest.Broker{
		NewCoordinator: func(_ testing.TB, name string, o backendtest.NodeOptions) metafora.Coordinator {
			return b.Coordinator(name, memory.WithTTL(o.TTL), memory.WithMargin(o.Margin),
				memory.WithTaskFunc(o.TaskFunc), memory.WithLabels(o.Labels), memory.WithWeight(o.Weight))
		},
		NewClient: func(testing.TB) metafora.Client { return b.Client() },
		NewStateStore: func(_ testing.TB, c metafora.Coordinator) statemachine.StateStore {
			return c.(*memory.Coordinator).StateStore()
		},
		NewListener: func(_ testing.TB, c metafora.Coordinator) statemachine.CommandListener {
			return c.(*memory.Coordinator).CommandListener()
		},
		NewCommander: func(testing.TB) statemachine.Commander { return b.Client() },
		Faults: backendtest.Faults{
			Compact: func(testing.TB) { b.Compact() },
			Partition: func(t testing.TB, node string) {
				wantTrue(t, b.Partition(node), "partition of a node", node)
			},
			Heal: func(_ testing.TB, node string) { b.Heal(node) },
			Kill: func(t testing.TB, node string) {
				wantTrue(t, b.Kill(node), "death of a node", node)
			},
			RevokeLease: func(t testing.TB, node string) {
				wantTrue(t, b.ExpireLease(node), "lease of a node", node)
			},
			DeleteOwner: func(t testing.TB, id string) {
				wantTrue(t, b.DeleteOwner(id), "owner of a task", id)
			},
			PutRawTask: func(t testing.TB, id string, value []byte) {
				wantNoErr(t, b.PutRawTask(id, value))
			},
			PutRawCommand: func(_ testing.TB, node string, value []byte) { b.PutRawCommand(node, value) },
			PutRawTaskCommand: func(t testing.TB, id string, value []byte) {
				wantNoErr(t, b.PutRawTaskCommand(id, value))
			},
			PutRawState: func(_ testing.TB, id string, value []byte) { b.PutRawState(id, value) },
		},
	}
}

func wantTrue(t testing.TB, ok bool, what, name string) {
	t.Helper()
	if !ok {
		t.Fatalf("%s: there is none called %q", what, name)
	}
}

func wantNoErr(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
