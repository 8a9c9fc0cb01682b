package statemachine_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/statemachine"
)

// idleBroker keeps any number of tasks that are all in one state, have no
// commands, and are never written to.
type idleBroker struct{ state statemachine.State }

func (b idleBroker) Load(context.Context, metafora.Claim) (statemachine.State, error) {
	return b.state, nil
}

func (idleBroker) Store(context.Context, metafora.Claim, statemachine.State, uint64) error {
	panic("a state was written")
}

func (idleBroker) Handled(context.Context, metafora.Claim, uint64) error {
	panic("a command was removed")
}

func (idleBroker) Listen(metafora.Claim) (<-chan statemachine.Command, func()) {
	return make(chan statemachine.Command, 1), func() {}
}

func (idleBroker) ListenFunc(metafora.Claim, func(statemachine.Command)) func() { return func() {} }

// idleState is a state in which a task stays for long, and how many goroutines
// it may cost there.
type idleState struct {
	state      statemachine.State
	goroutines int
}

func idleStates() []idleState {
	return []idleState{
		{statemachine.State{Code: statemachine.Runnable}, 1},
		{statemachine.State{Code: statemachine.Sleeping, Until: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}, 1},
		{statemachine.State{Code: statemachine.Paused}, 1},
		{statemachine.State{Code: statemachine.Fault, Errors: []statemachine.TaskError{{Error: "disk full"}}}, 1},
	}
}

// runIdle runs n tasks in one state. What it returns ends them.
func runIdle(tb testing.TB, state statemachine.State, n int) (stop func()) {
	tb.Helper()
	b := idleBroker{state}
	var entered, ended sync.WaitGroup
	if state.Code == statemachine.Runnable {
		entered.Add(n)
	}
	newHandler := statemachine.HandlerFunc(
		func(_ context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
			entered.Done()
			return <-commands
		}, b, b)
	ctx, cancel := context.WithCancel(context.Background())
	handlers := make([]metafora.Handler, n)
	for i := range handlers {
		task := metafora.NewTask(fmt.Sprint("task-", i))
		handlers[i] = newHandler(task)
		ended.Go(func() {
			handlers[i].Run(metafora.ContextWithClaim(ctx, metafora.Claim{TaskID: task.ID(), Fence: 1}, nil))
		})
	}
	entered.Wait()
	return func() {
		for _, h := range handlers {
			h.Stop()
		}
		ended.Wait()
		cancel()
	}
}

func TestIdleTaskCostsFewGoroutines(t *testing.T) {
	for _, c := range idleStates() {
		synctest.Test(t, func(t *testing.T) {
			const tasks = 50
			before := runtime.NumGoroutine()
			stop := runIdle(t, c.state, tasks)
			defer stop()
			synctest.Wait()
			got := runtime.NumGoroutine() - before
			// One that has left the bubble may still be on its way out of the
			// runtime's count.
			for range 1_000_000 {
				if got <= c.goroutines*tasks {
					return
				}
				runtime.Gosched()
				got = runtime.NumGoroutine() - before
			}
			t.Errorf("%d tasks in state %s cost %d goroutines", tasks, c.state.Code, got)
		})
	}
}

// A node in whose tasks nothing happens, with all that the Consumer, the
// Coordinator and even the memory broker keep for a task.
func TestIdleTaskOfANodeIsSmall(t *testing.T) {
	const tasks, maxGoroutines, maxBytes = 4_000, 1, 8 << 10
	for _, c := range []struct {
		state  statemachine.StateCode
		answer statemachine.Message // the handler's, that leads there
	}{
		{statemachine.Runnable, statemachine.Message{}},
		{statemachine.Sleeping, statemachine.Sleep(time.Now().Add(24 * time.Hour))},
		{statemachine.Paused, statemachine.Pause()},
		{statemachine.Fault, statemachine.Error(errors.New("disk full"))},
	} {
		t.Run(string(c.state), func(t *testing.T) {
			heap, stacks, goroutines := usage()
			node := idleNode(t, c.answer, tasks)
			await(t, "all tasks are "+string(c.state), func() bool { return count(node, c.state) == tasks })
			await(t, "they cost few goroutines", func() bool {
				return runtime.NumGoroutine()-goroutines <= maxGoroutines*tasks+50
			})
			heapNow, stacksNow, _ := usage()
			bytes := (heapNow - heap + stacksNow - stacks) / tasks
			t.Logf("%d bytes a task, %d of them stack", bytes, (stacksNow-stacks)/tasks)
			if bytes > maxBytes && !raceDetector {
				t.Errorf("%d bytes a task, the limit is %d", bytes, maxBytes)
			}
		})
	}
}

// idleNode runs a node until the test ends, with n tasks whose handlers give an
// answer at once, or wait for commands where there is none.
func idleNode(t *testing.T, answer statemachine.Message, n int) *memory.Service {
	node, err := memory.NewBroker().NewService("node-1", statemachine.Config{
		Handler: func(_ context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
			if answer.Code == "" {
				return <-commands
			}
			return answer
		},
		Balancer: func(metafora.ClusterState) metafora.Balancer { return balance.All() },
		Machine: []statemachine.Option{statemachine.WithErrHandler(func(_ metafora.Task, errs []statemachine.TaskError) (statemachine.Message, []statemachine.TaskError) {
			return statemachine.Checkpoint(), errs // stay in fault
		})},
	})
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- node.Run(context.Background()) }()
	t.Cleanup(func() {
		node.Shutdown()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	for i := range n {
		if err := node.Client.SubmitTask(t.Context(), metafora.NewTask(fmt.Sprint("task-", i))); err != nil {
			t.Fatal(err)
		}
	}
	return node
}

// count returns how many tasks of a node are in a state.
func count(node *memory.Service, code statemachine.StateCode) (n int) {
	for _, task := range node.Tasks() {
		if s, _ := task.Handler.(*statemachine.Machine).State(); s.Code == code {
			n++
		}
	}
	return n
}

// await waits until ok is true.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not true: %s", what)
		}
	}
}

// BenchmarkIdleTask measures what a task costs that waits: bytes of heap and
// stacks, and goroutines. It includes the Handler, the Consumer's goroutine and
// context, and a listener's channel.
func BenchmarkIdleTask(b *testing.B) {
	const tasks, limit = 20_000, 8 << 10
	for _, c := range idleStates() {
		b.Run(string(c.state.Code), func(b *testing.B) {
			for b.Loop() {
				heap, stacks, goroutines := usage()
				stop := runIdle(b, c.state, tasks)
				waitParked(b, c.state.Code, goroutines, tasks)
				heapNow, stacksNow, goroutinesNow := usage()
				perTask := func(n int) float64 { return float64(n) / tasks }
				bytes := perTask(heapNow - heap + stacksNow - stacks)
				b.ReportMetric(bytes, "bytes/task")
				b.ReportMetric(perTask(stacksNow-stacks), "stack-bytes/task")
				b.ReportMetric(perTask(goroutinesNow-goroutines), "goroutines/task")
				b.ReportMetric(0, "ns/op")
				if bytes > limit {
					b.Errorf("%.0f bytes a task, the limit is %d", bytes, limit)
				}
				stop()
			}
		})
	}
}

// waitParked waits until all tasks have come to rest.
func waitParked(b *testing.B, code statemachine.StateCode, before, tasks int) {
	b.Helper()
	for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
		if runtime.NumGoroutine()-before >= tasks {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("tasks in state %s do not come to rest", code)
		}
	}
}

// usage returns the bytes of heap and stacks in use, and the number of
// goroutines.
func usage() (heap, stacks, goroutines int) {
	// Stacks shrink by half in each collection.
	for range 4 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc), int(m.StackInuse), runtime.NumGoroutine()
}
