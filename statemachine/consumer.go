package statemachine

import (
	"errors"
	"fmt"

	"github.com/hashicorp/go-hclog"

	"github.com/metafora-go/metafora"
)

// Config says what the nodes of a service with stateful tasks do. Where they run
// is the backend's part: the same Config makes nodes of etcd.NewService in
// production and of memory's Broker.NewService in a test.
type Config struct {
	// Handler does the work of a task in state runnable. Required.
	Handler StatefulHandler
	// Balancer makes the Balancer of a node, which may look at its cluster.
	// Required; package balance has several:
	//
	//	func(cs metafora.ClusterState) metafora.Balancer { return balance.NewRendezvous(cs) }
	Balancer func(metafora.ClusterState) metafora.Balancer
	// Logger receives what the Machines and the Consumer log. Default: where
	// the Coordinator's options say, as far as the backend's constructor
	// knows, else nowhere.
	Logger hclog.Logger
	// Machine has options of the Machines, such as WithErrHandler.
	Machine []Option
	// Consumer has options of the Consumer, such as metafora.WithDrainTimeout.
	Consumer []metafora.Option
}

// Coordinator is what a node needs of a backend for stateful tasks. The
// Coordinators of this module are such.
type Coordinator interface {
	metafora.Coordinator
	metafora.ClusterState

	// StateStore returns the store of the states of this node's tasks.
	StateStore() StateStore
	// CommandListener returns the listener for the commands of this node's
	// tasks.
	CommandListener() CommandListener
}

// NewConsumer ties a node together: a Consumer that runs each task of coord's
// broker as a Machine. The Consumer closes coord when its Run ends; after an
// error coord is the caller's still. The constructors of the backends call
// NewConsumer, and a program does so where it makes its Coordinator itself.
func NewConsumer(coord Coordinator, c Config) (*metafora.Consumer, error) {
	var errs []error
	if coord == nil {
		errs = append(errs, errors.New("nil coordinator"))
	}
	if c.Handler == nil {
		errs = append(errs, errors.New("nil Handler"))
	}
	if c.Balancer == nil {
		errs = append(errs, errors.New("nil Balancer"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("statemachine: new consumer: %w", err)
	}
	machine, consumer := c.Machine, c.Consumer
	if c.Logger != nil {
		machine = append([]Option{WithLogger(c.Logger.With("node", coord.Name()))}, machine...)
		consumer = append([]metafora.Option{metafora.WithLogger(c.Logger)}, consumer...)
	}
	handler := HandlerFunc(c.Handler, coord.StateStore(), coord.CommandListener(), machine...)
	return metafora.NewConsumer(coord, handler, c.Balancer(coord), consumer...)
}
