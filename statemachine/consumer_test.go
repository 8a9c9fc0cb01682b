package statemachine_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/statemachine"
)

func TestNewConsumerNamesWhatIsMissing(t *testing.T) {
	complete := func() statemachine.Config {
		return statemachine.Config{
			Handler: func(context.Context, metafora.Task, <-chan statemachine.Message) statemachine.Message {
				return statemachine.Complete()
			},
			Balancer: func(metafora.ClusterState) metafora.Balancer { return balance.All() },
		}
	}
	coord := memory.NewBroker().Coordinator("node-1")
	defer coord.Close()
	if _, err := statemachine.NewConsumer(coord, complete()); err != nil {
		t.Errorf("complete: %v", err)
	}
	if _, err := statemachine.NewConsumer(nil, complete()); err == nil || !strings.Contains(err.Error(), "nil coordinator") {
		t.Errorf("without a coordinator: %v", err)
	}
	for want, change := range map[string]func(*statemachine.Config){
		"nil Handler":  func(c *statemachine.Config) { c.Handler = nil },
		"nil Balancer": func(c *statemachine.Config) { c.Balancer = nil },
		"nil balancer": func(c *statemachine.Config) {
			c.Balancer = func(metafora.ClusterState) metafora.Balancer { return nil }
		},
		"claims in flight": func(c *statemachine.Config) { c.Consumer = []metafora.Option{metafora.WithClaimsInFlight(0)} },
	} {
		c := complete()
		change(&c)
		if _, err := statemachine.NewConsumer(coord, c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got the error %v, want one about %q", err, want)
		}
	}
}

// The Consumer calls Stop when a claim is lost, not only at the end of a node.
func TestHandlerThatLooksAtItsCommandsOnlyLearnsOfALostClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broker := memory.NewBroker()
		received := make(chan statemachine.Message)
		node, err := broker.NewService("node-1", statemachine.Config{
			Handler: func(_ context.Context, _ metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
				m := <-commands
				received <- m
				return m
			},
			Balancer: func(metafora.ClusterState) metafora.Balancer { return balance.All() },
		})
		if err != nil {
			t.Fatal(err)
		}
		stopped := make(chan error)
		go func() { stopped <- node.Run(t.Context()) }()
		if err := node.Client.SubmitTask(t.Context(), metafora.NewTask("task")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		broker.ExpireLease("node-1")
		select {
		case m := <-received:
			if m != statemachine.Release() {
				t.Errorf("received %v when the claim was lost", m)
			}
		case <-time.After(time.Hour):
			t.Fatal("received nothing when the claim was lost")
		}
		synctest.Wait()
		go func() { <-received }() // Release, since the node has the task again
		node.Shutdown()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

func TestHandlerFuncOfNothingIsRefusedByTheConsumer(t *testing.T) {
	coord := memory.NewBroker().Coordinator("node-1")
	defer coord.Close()
	for name, h := range map[string]metafora.HandlerFunc{
		"handler":  statemachine.HandlerFunc(nil, coord.StateStore(), coord.CommandListener()),
		"store":    statemachine.HandlerFunc(obey, nil, coord.CommandListener()),
		"listener": statemachine.HandlerFunc(obey, coord.StateStore(), nil),
	} {
		if _, err := metafora.NewConsumer(coord, h, balance.All()); err == nil || !strings.Contains(err.Error(), "nil handler function") {
			t.Errorf("without a %s: %v", name, err)
		}
	}
}

// One logger, given to the Coordinator, gets what all parts of the node log.
func TestServiceLogsToTheLoggerOfItsCoordinator(t *testing.T) {
	var logs strings.Builder
	logger := hclog.New(&hclog.LoggerOptions{Output: &logs, Level: hclog.Debug})
	synctest.Test(t, func(t *testing.T) {
		node, err := memory.NewBroker().NewService("node-1", statemachine.Config{
			Handler:  obey,
			Balancer: func(metafora.ClusterState) metafora.Balancer { return balance.All() },
		}, memory.WithLogger(logger))
		if err != nil {
			t.Fatal(err)
		}
		stopped := make(chan error)
		go func() { stopped <- node.Run(t.Context()) }()
		if err := node.Client.SubmitTask(t.Context(), metafora.NewTask("task")); err != nil {
			t.Fatal(err)
		}
		if err := node.Client.Send(t.Context(), "task", statemachine.Kill()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		node.Shutdown()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	for _, want := range []string{
		"joined: node=node-1",                           // the Coordinator
		"node joined the cluster: node=node-1",          // the Consumer
		"task changed its state: node=node-1 task=task", // the Machine
	} {
		if !strings.Contains(logs.String(), want) {
			t.Errorf("%q is not logged:\n%s", want, logs.String())
		}
	}
}
