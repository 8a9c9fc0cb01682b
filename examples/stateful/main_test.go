package main

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/simtest/simetcd"
	"github.com/metafora-go/metafora/statemachine"
)

// counter counts what the task t says on node one.
type counter struct{ n atomic.Int64 }

func (c *counter) Write(line []byte) (int, error) {
	if string(line) == "hello from t on one\n" {
		c.n.Add(1)
	}
	return len(line), nil
}

// TestService has an hour of service pass in fake time, on a simulated etcd.
func TestService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := simetcd.NewServer()
		defer server.Close()
		var out counter
		service, err := newService(server.Client("one", nil), "one", time.Second, &out)
		if err != nil {
			t.Fatal(err)
		}
		ctx, shutdown := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- service.Run(ctx) }()

		if err := service.Client.SubmitTask(ctx, metafora.NewTask("t")); err != nil {
			t.Fatal(err)
		}
		send := func(m statemachine.Message) {
			t.Helper()
			if err := service.Client.Send(ctx, "t", m); err != nil {
				t.Fatal(err)
			}
		}
		greetings := func(during time.Duration) int {
			before := out.n.Load()
			time.Sleep(during)
			synctest.Wait()
			return int(out.n.Load() - before)
		}
		if n := greetings(time.Hour); n < 850 || n > 910 {
			t.Errorf("%d greetings in an hour, want 10 each 40 seconds", n)
		}
		send(statemachine.Pause())
		greetings(time.Second)
		if n := greetings(time.Hour); n != 0 {
			t.Errorf("%d greetings while paused", n)
		}
		send(statemachine.Run())
		if n := greetings(15 * time.Second); n != 10 {
			t.Errorf("%d greetings after it was resumed, want 10", n)
		}
		send(statemachine.Kill())
		greetings(time.Second)
		if _, err := service.Client.Task(ctx, "t"); !errors.Is(err, metafora.ErrNoTask) {
			t.Errorf("the task that was killed is there: %v", err)
		}
		shutdown()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
