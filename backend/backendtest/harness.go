package backendtest

import (
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// Harness is what a backend brings to the suite. NewBroker is required; the
// zero value of everything else means its default.
type Harness struct {
	// NewBroker starts an empty broker, or takes an unused namespace of a
	// shared one, and cleans up with t.Cleanup. It is called once for each
	// check, inside Isolate.
	NewBroker func(t testing.TB) Broker

	// Isolate runs one check. Backends that can live in fake time pass
	// [testing/synctest.Test]. The default calls the check as it is.
	Isolate func(t *testing.T, check func(t *testing.T))

	// Parallel runs the checks in parallel with each other. It is meant for
	// backends in real time, where some checks wait for a lease to end; how
	// many run at once is the flag -parallel.
	Parallel bool

	// TTL is the lease time of nodes whose lease a check lets end, and Margin
	// their safety margin. In real time they should be as short as is
	// reliable. The default is 10 seconds, and a fifth of TTL.
	TTL, Margin time.Duration

	// Patience is how long something that must happen is waited for. The
	// default is 30 seconds; it must be several times TTL.
	Patience time.Duration

	// Grace is how long things that must not happen are given to show up. The
	// default is 50 milliseconds. In fake time a minute costs nothing.
	Grace time.Duration

	// TooLarge is a size of properties, in bytes, that the broker cannot
	// store. 0 says that it has no limit.
	TooLarge int
}

// Broker is one broker, or one namespace of it. The functions that make
// something are called from the check's goroutine; what they make may be closed
// by the check and need not be closed by the harness.
type Broker struct {
	// NewCoordinator makes the Coordinator of one node, which has not joined
	// yet. Required.
	NewCoordinator func(t testing.TB, name string, o NodeOptions) metafora.Coordinator

	// NewClient makes a Client. Required.
	NewClient func(t testing.TB) metafora.Client

	// Extend makes another namespace of the same broker, with the name of
	// this one followed by suffix: "/a" becomes "/ab".
	Extend func(t testing.TB, suffix string) Broker

	// NewStateStore, NewListener and NewCommander make the parts for stateful
	// tasks, the first two for a node of this broker that has joined. Without
	// all three the subjects state, listen and listenfunc are skipped.
	NewStateStore func(t testing.TB, c metafora.Coordinator) statemachine.StateStore
	NewListener   func(t testing.TB, c metafora.Coordinator) statemachine.CommandListener
	NewCommander  func(t testing.TB) statemachine.Commander

	// Faults are the ways in which this broker can be hurt.
	Faults Faults
}

// NodeOptions are the options of a node. Zero values mean the defaults of the
// backend, and [metafora.PlainTask].
type NodeOptions struct {
	TTL, Margin time.Duration
	TaskFunc    metafora.TaskFunc
	Labels      map[string]string
	Weight      float64
}

// Faults hurt a broker or its nodes, as operators, networks and crashes do. Each
// may be nil: the checks that need it are skipped. A fault has happened at the
// broker when its function returns; nodes may learn of it later.
type Faults struct {
	// Compact makes the broker forget all history: a watch that is behind
	// cannot be resumed.
	Compact func(t testing.TB)

	// Partition cuts a node off from the broker: its calls fail or hang, its
	// watches are silent, its lease is not renewed. Heal ends that.
	Partition, Heal func(t testing.TB, node string)

	// Kill ends a node as a crash does: the broker hears no more of it. Its
	// Coordinator is only closed afterwards, which must not reach the broker.
	// Where it is nil, Partition stands in for it.
	Kill func(t testing.TB, node string)

	// RevokeLease ends a node's lease at once, as an operator might.
	RevokeLease func(t testing.TB, node string)

	// DeleteOwner removes what says that a task is owned, and nothing else.
	DeleteOwner func(t testing.TB, taskID string)

	// LoseReply makes the next write of a node take effect at the broker while
	// the node sees it fail or time out.
	LoseReply func(t testing.TB, node string)

	// PutRawTask stores value in place of a task, PutRawCommand as the newest
	// command of a node, PutRawTaskCommand as the pending command of a task,
	// PutRawState as the state of a task that exists, all without looking at
	// it.
	PutRawTask        func(t testing.TB, taskID string, value []byte)
	PutRawCommand     func(t testing.TB, node string, value []byte)
	PutRawTaskCommand func(t testing.TB, taskID string, value []byte)
	PutRawState       func(t testing.TB, taskID string, value []byte)
}

func (h Harness) withDefaults() Harness {
	if h.Isolate == nil {
		h.Isolate = func(t *testing.T, check func(t *testing.T)) { check(t) }
	}
	if h.TTL == 0 {
		h.TTL = 10 * time.Second
	}
	if h.Margin == 0 {
		h.Margin = h.TTL / 5
	}
	if h.Patience == 0 {
		h.Patience = 30 * time.Second
	}
	if h.Grace == 0 {
		h.Grace = 50 * time.Millisecond
	}
	return h
}
