package metafora_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
)

// runCounted runs a Consumer with handlers that wait for their stop and count
// themselves, submits n tasks and waits until all run.
func runCounted(tb testing.TB, n int, before func()) (end func()) {
	tb.Helper()
	var runs atomic.Int64
	allRun := make(chan struct{})
	handler := metafora.SimpleHandler(func(ctx context.Context, _ metafora.Task, stop <-chan struct{}) bool {
		if runs.Add(1) == int64(n) {
			close(allRun)
		}
		select {
		case <-stop:
		case <-ctx.Done():
		}
		return false
	})
	fake := newFake()
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("task-%08d", i)
	}
	fake.submit(ids...)
	c, err := metafora.NewConsumer(fake, handler, &fakeBalancer{}, metafora.WithReclaimDelay(time.Hour))
	if err != nil {
		tb.Fatal(err)
	}
	before()
	result := make(chan error, 1)
	go func() { result <- c.Run(context.Background()) }()
	<-allRun
	return func() {
		c.Shutdown()
		if err := <-result; err != nil {
			tb.Error(err)
		}
	}
}

func TestIdleTaskCostsOneGoroutineAndLessThan4KB(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector adds to what everything costs")
	}
	const n = 20_000
	var bytes, goroutines int
	end := runCounted(t, n, func() { bytes, goroutines = inUse(), runtime.NumGoroutine() })
	defer end()
	// Some of the node's own come on top of those of the tasks. The ones that
	// claimed them may take a moment to end.
	for wait := time.Millisecond; runtime.NumGoroutine()-goroutines > n+20; wait *= 2 {
		if wait > 10*time.Second {
			t.Fatalf("%d idle tasks have %d goroutines", n, runtime.NumGoroutine()-goroutines)
		}
		time.Sleep(wait)
	}
	perTask := (inUse() - bytes) / n
	t.Logf("%d bytes per idle task", perTask)
	if perTask > 4096 {
		t.Errorf("an idle task costs %d bytes", perTask)
	}
}

// inUse returns how many bytes of heap and stacks are in use.
func inUse() int {
	runtime.GC()
	runtime.GC() // the first one may leave stacks and sync.Pools behind
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapInuse + m.StackInuse)
}

func BenchmarkMassStart(b *testing.B) {
	end := runCounted(b, b.N, b.ResetTimer)
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
	end()
}
