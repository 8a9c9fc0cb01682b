package statemachine_test

import (
	"context"
	"strings"
	"testing"

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
