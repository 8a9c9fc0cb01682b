package backendtest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/backendtest"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/statemachine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memoryHarness is the harness of a backend that lives in fake time.
func memoryHarness() backendtest.Harness {
	return backendtest.Harness{
		NewBroker: func(testing.TB) backendtest.Broker { return memoryBroker(memory.NewBroker()) },
		Isolate:   synctest.Test,
		Grace:     time.Minute,
		TooLarge:  8 << 20,
	}
}

// stateful is what a Coordinator of package memory has besides the contract.
type stateful interface {
	StateStore() statemachine.StateStore
	CommandListener() statemachine.CommandListener
}

func memoryBroker(b *memory.Broker) backendtest.Broker {
	return backendtest.Broker{
		NewCoordinator: func(_ testing.TB, name string, o backendtest.NodeOptions) metafora.Coordinator {
			return b.Coordinator(name, memory.WithTTL(o.TTL), memory.WithMargin(o.Margin),
				memory.WithTaskFunc(o.TaskFunc), memory.WithLabels(o.Labels), memory.WithWeight(o.Weight))
		},
		NewClient: func(testing.TB) metafora.Client { return b.Client() },
		Extend:    func(testing.TB, string) backendtest.Broker { return memoryBroker(memory.NewBroker()) },
		NewStateStore: func(_ testing.TB, c metafora.Coordinator) statemachine.StateStore {
			return c.(stateful).StateStore()
		},
		NewListener: func(_ testing.TB, c metafora.Coordinator) statemachine.CommandListener {
			return c.(stateful).CommandListener()
		},
		NewCommander: func(testing.TB) statemachine.Commander { return b.Client() },
		Faults: backendtest.Faults{
			Compact:       func(testing.TB) { b.Compact() },
			Partition:     func(_ testing.TB, node string) { b.Partition(node) },
			Heal:          func(_ testing.TB, node string) { b.Heal(node) },
			Kill:          func(_ testing.TB, node string) { b.Kill(node) },
			RevokeLease:   func(_ testing.TB, node string) { b.ExpireLease(node) },
			DeleteOwner:   func(_ testing.TB, id string) { b.DeleteOwner(id) },
			PutRawTask:    func(t testing.TB, id string, value []byte) { mustPut(t, b.PutRawTask(id, value)) },
			PutRawCommand: func(_ testing.TB, node string, value []byte) { b.PutRawCommand(node, value) },
			PutRawTaskCommand: func(t testing.TB, id string, value []byte) {
				mustPut(t, b.PutRawTaskCommand(id, value))
			},
			PutRawState: func(_ testing.TB, id string, value []byte) { b.PutRawState(id, value) },
		},
	}
}

func mustPut(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMemoryKeepsTheContract(t *testing.T) { backendtest.Run(t, memoryHarness()) }
