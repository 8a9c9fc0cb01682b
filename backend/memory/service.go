package memory

import (
	"errors"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// Service is a node that runs stateful tasks, and a Client to submit tasks to
// its cluster, to send them commands and to look at their states. Run joins the
// cluster, and closes the Coordinator in the end.
type Service struct {
	*metafora.Consumer
	Coordinator *Coordinator
	Client      *Client
}

// NewService ties together the node of this name: its Coordinator, with options
// as [Broker.Coordinator] takes them, and a Consumer that does what c says. What
// c has no logger for is logged to the Coordinator's. It starts nothing; that is
// Run's part.
func (b *Broker) NewService(name string, c statemachine.Config, opts ...Option) (*Service, error) {
	coord := b.Coordinator(name, opts...)
	if c.Logger == nil {
		c.Logger = coord.opts.logger
	}
	consumer, err := statemachine.NewConsumer(coord, c)
	if err != nil {
		return nil, errors.Join(err, coord.Close())
	}
	return &Service{Consumer: consumer, Coordinator: coord, Client: b.Client()}, nil
}

var _ statemachine.Coordinator = (*Coordinator)(nil)
