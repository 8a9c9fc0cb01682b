package etcd

import (
	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// Service is a node that runs stateful tasks, and the Client to submit tasks to
// its cluster, to send them commands and to look at their states. Run joins the
// cluster, and closes the Coordinator in the end.
type Service struct {
	*metafora.Consumer
	Coordinator *Coordinator
	Client      *Client
}

// NewService ties together the node of this name: its Coordinator and Client,
// both with the options o, and a Consumer that does what c says. What c has no
// logger for is logged to o's. It neither talks to etcd nor starts anything;
// that is Run's part. conn stays the caller's. Errors name the bad name or option.
func NewService(conn Conn, name string, c statemachine.Config, o Options) (*Service, error) {
	coord, err := NewCoordinator(conn, name, o)
	if err != nil {
		return nil, err
	}
	client, err := NewClient(conn, o)
	if err != nil {
		return nil, err
	}
	if c.Logger == nil {
		c.Logger = o.Logger
	}
	consumer, err := statemachine.NewConsumer(coord, c)
	if err != nil {
		return nil, err
	}
	return &Service{Consumer: consumer, Coordinator: coord, Client: client}, nil
}

var _ statemachine.Coordinator = (*Coordinator)(nil)
