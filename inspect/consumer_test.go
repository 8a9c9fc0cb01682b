package inspect_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/inspect"
	"github.com/metafora-go/metafora/statemachine"
)

// obedient is a stateful task that answers each command with it.
func obedient(ctx context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
	select {
	case m := <-commands:
		return m
	case <-ctx.Done():
		return statemachine.Release()
	}
}

// getJSON decodes the handler's answer into a T.
func getJSON[T any](t *testing.T, h http.Handler, target string) T {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
	var v T
	if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil || rec.Code != http.StatusOK {
		t.Fatalf("%s: %d %s: %v", target, rec.Code, rec.Body, err)
	}
	return v
}

// start runs a Consumer until the test ends.
func start(t *testing.T, coord metafora.Coordinator, h metafora.HandlerFunc, b metafora.Balancer, opts ...metafora.Option) *metafora.Consumer {
	t.Helper()
	c, err := metafora.NewConsumer(coord, h, b, opts...)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- c.Run(context.WithoutCancel(t.Context())) }()
	t.Cleanup(func() {
		c.Shutdown()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestARealNodeIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		broker := memory.NewBroker()
		coord, client := broker.Coordinator("node-1"), broker.Client()
		fail := func(_ context.Context, task metafora.Task, _ <-chan statemachine.Message) statemachine.Message {
			return statemachine.Error(fmt.Errorf("%s is broken", task.ID()))
		}
		handler := func(task metafora.Task) metafora.Handler {
			work := obedient
			if strings.HasPrefix(task.ID(), "fails") {
				work = fail
			}
			return statemachine.New(task, work, coord.StateStore(), coord.CommandListener())
		}
		begun := time.Now()
		c := start(t, coord, handler, balance.All())
		h := inspect.Handler(c)
		for _, id := range []string{"a", "b", "fails"} {
			must(t, client.SubmitTask(ctx, metafora.NewTask(id)))
		}
		synctest.Wait()
		must(t, client.Send(ctx, "b", statemachine.Pause()))
		time.Sleep(time.Minute)

		node := getJSON[inspect.Node](t, h, "/node")
		want := inspect.Node{Name: "node-1", Time: time.Now().UTC(), Started: begun.UTC(), Running: 3}
		if node != want {
			t.Errorf("node %+v, want %+v", node, want)
		}
		tasks := getJSON[inspect.Tasks](t, h, "/tasks")
		if len(tasks.Tasks) != 3 {
			t.Fatalf("tasks: %+v", tasks)
		}
		for i, want := range []statemachine.StateCode{statemachine.Runnable, statemachine.Paused, statemachine.Sleeping} {
			task := tasks.Tasks[i]
			info, err := client.Task(ctx, task.ID)
			must(t, err)
			if task.State != want || task.Fence != info.Fence || !task.Started.Equal(begun) || !task.Since.Equal(begun) || !task.Stopped.IsZero() {
				t.Errorf("task %+v, want it %s with fence %d", task, want, info.Fence)
			}
		}
		failed := getJSON[inspect.Tasks](t, h, "/tasks?task=fails").Tasks[0]
		if failed.Error != "fails is broken" || len(failed.Errors) != 1 || !failed.Until.Equal(begun.Add(10*time.Minute)) {
			t.Errorf("failed task %+v", failed)
		}

		must(t, client.SubmitCommand(ctx, "node-1", metafora.StopTask("a")))
		synctest.Wait()
		must(t, client.SubmitCommand(ctx, "node-1", metafora.Freeze()))
		synctest.Wait()
		if node := getJSON[inspect.Node](t, h, "/node"); !node.Frozen || node.Draining || node.Running != 2 || node.Deferred != 1 {
			t.Errorf("frozen node %+v", node)
		}
		deferred := getJSON[inspect.DeferredTasks](t, h, "/deferred")
		released := inspect.DeferredTask{ID: "a", Until: time.Now().Add(time.Second).UTC(), Reason: metafora.DeferredByRelease}
		if len(deferred.Deferred) != 1 || deferred.Deferred[0] != released {
			t.Errorf("deferred %+v, want %+v", deferred, released)
		}
		must(t, client.SubmitCommand(ctx, "node-1", metafora.Drain()))
		time.Sleep(time.Second)
		if node := getJSON[inspect.Node](t, h, "/node"); !node.Draining || node.Running != 0 {
			t.Errorf("drained node %+v", node)
		}
	})
}

// A handler that has been asked to stop, and one whose claim was lost, stay on
// the list until they return.
func TestStoppedAndLostTasksAreShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		broker := memory.NewBroker()
		coord, client := broker.Coordinator("node-1"), broker.Client()
		release := make(chan struct{})
		c := start(t, coord, metafora.SimpleHandler(func(context.Context, metafora.Task, <-chan struct{}) bool {
			<-release
			return false
		}), balance.All())
		t.Cleanup(func() { close(release) })
		h := inspect.Handler(c)
		must(t, client.SubmitTasks(ctx, []metafora.Task{metafora.NewTask("deleted"), metafora.NewTask("stopped")}))
		time.Sleep(time.Second)
		must(t, client.SubmitCommand(ctx, "node-1", metafora.StopTask("stopped")))
		must(t, client.DeleteTask(ctx, "deleted"))
		synctest.Wait()
		now := time.Now()
		tasks := getJSON[inspect.Tasks](t, h, "/tasks").Tasks
		if len(tasks) != 2 {
			t.Fatalf("tasks: %+v", tasks)
		}
		if deleted := tasks[0]; !deleted.Stopped.Equal(now) || !deleted.Lost.Equal(now) {
			t.Errorf("deleted task %+v", deleted)
		}
		if stopped := tasks[1]; !stopped.Stopped.Equal(now) || !stopped.Lost.IsZero() {
			t.Errorf("stopped task %+v", stopped)
		}
	})
}

// Requests and scrapes meet a node that is busy.
func TestHandlerAndMetricsAreSafeForConcurrentUse(t *testing.T) {
	broker := memory.NewBroker()
	coord, client := broker.Coordinator("node-1"), broker.Client()
	metrics := inspect.NewMetrics("node-1")
	c := start(t, coord, statemachine.HandlerFunc(obedient, coord.StateStore(), coord.CommandListener()),
		balance.NewRendezvous(coord), metafora.WithObserver(metrics))
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics, inspect.NewCollector(c, coord))
	srv := httptest.NewServer(inspect.Handler(c))
	defer srv.Close()

	const reads = 30
	ctx, cancel := context.WithCancel(t.Context())
	var readers, writers sync.WaitGroup
	for _, target := range []string{"/", "/node", "/tasks?state=runnable", "/deferred", "/tasks?limit=3"} {
		readers.Go(func() {
			for range reads {
				resp, err := srv.Client().Get(srv.URL + target)
				if err != nil {
					t.Error(err)
					return
				}
				if resp.StatusCode != http.StatusOK {
					t.Errorf("%s: %s", target, resp.Status)
				}
				_ = resp.Body.Close()
			}
		})
	}
	readers.Go(func() {
		for range reads {
			if _, err := registry.Gather(); err != nil {
				t.Error(err)
			}
		}
	})
	for w := range 4 {
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("task-%d-%d", w, i)
				err := client.SubmitTask(ctx, metafora.NewTask(id))
				for _, m := range []statemachine.Message{statemachine.Pause(), statemachine.Complete()} {
					if err == nil {
						err = client.Send(ctx, id, m)
					}
				}
				if err != nil && ctx.Err() == nil && !errors.Is(err, metafora.ErrNoTask) {
					t.Error(err)
				}
			}
		})
	}
	readers.Wait()
	cancel()
	writers.Wait()
	if n, err := testutil.GatherAndCount(registry); err != nil || n < 20 {
		t.Errorf("%d metrics: %v", n, err)
	}
}
