package inspect_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/inspect"
)

// nowhere is a connection that takes everything.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header       { return n.header }
func (nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (nowhere) WriteHeader(int)             {}

// What a node with 100,000 tasks pays for being looked at.
func BenchmarkHandler(b *testing.B) {
	const count = 100_000
	broker := memory.NewBroker()
	coord := broker.Coordinator("node-1")
	handler := metafora.SimpleHandler(func(_ context.Context, _ metafora.Task, stop <-chan struct{}) bool {
		<-stop
		return true
	})
	c, err := metafora.NewConsumer(coord, handler, balance.All())
	if err != nil {
		b.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- c.Run(context.WithoutCancel(b.Context())) }()
	tasks := make([]metafora.Task, count)
	for i := range tasks {
		tasks[i] = metafora.NewTask(fmt.Sprintf("task-%06d", i))
	}
	if err := broker.Client().SubmitTasks(b.Context(), tasks); err != nil {
		b.Fatal(err)
	}
	for c.Counts().Running < count {
		time.Sleep(time.Millisecond)
	}
	h := inspect.Handler(c)
	for _, target := range []string{"/", "/node", "/tasks", "/tasks?task=task-050000", "/tasks?limit=1000"} {
		b.Run(target, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(nowhere{http.Header{}}, httptest.NewRequest(http.MethodGet, target, nil))
			}
		})
	}
	c.Shutdown()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}
