package embedded

import (
	"fmt"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// clients are those that a Server or Cluster made. It closes the ones that are
// still open, since the goroutines of a client outlive its server.
type clients struct {
	mu     sync.Mutex // guards the fields below
	open   []*clientv3.Client
	closed bool
}

// add makes a client and keeps it in mind. owner is named once closed.
func (cs *clients) add(owner string, dial func() (*clientv3.Client, error)) (*clientv3.Client, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closed {
		return nil, fmt.Errorf("embedded etcd: %s is closed", owner)
	}
	cli, err := dial()
	if err != nil {
		return nil, fmt.Errorf("embedded etcd: client of %s: %w", owner, err)
	}
	cs.open = append(cs.open, cli)
	return cli, nil
}

func (cs *clients) close() {
	cs.mu.Lock()
	open := cs.open
	cs.open, cs.closed = nil, true
	cs.mu.Unlock()
	for _, cli := range open {
		_ = cli.Close() // one that its user has closed already says so
	}
}
