package embedded

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
)

// link is the address at which the other members of a cluster reach one of
// them. It forwards to the port where the member listens at the moment, and is
// there to be cut: a stopped etcd leaves connections between members open until
// their timeouts, for seconds, on both sides.
type link struct {
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	target net.Addr   // nil while cut
	conns  map[net.Conn]struct{}
}

func newLink(host string) (*link, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, fmt.Errorf("embedded etcd: peer port: %w", err)
	}
	k := &link{listener: l, conns: make(map[net.Conn]struct{})}
	k.running.Go(k.accept)
	return k, nil
}

func (k *link) url() *url.URL { return &url.URL{Scheme: "http", Host: k.listener.Addr().String()} }

// connect makes the link forward to target from now on.
func (k *link) connect(target net.Addr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.target = target
}

// cut ends all connections, and new ones at once, until connect.
func (k *link) cut() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.target = nil
	for c := range k.conns {
		_ = c.Close()
	}
}

// close ends the link and returns when its goroutines have ended.
func (k *link) close() {
	_ = k.listener.Close()
	k.cut()
	k.running.Wait()
}

func (k *link) accept() {
	for {
		c, err := k.listener.Accept()
		if err != nil {
			return // closed
		}
		k.running.Go(func() { k.forward(c) })
	}
}

func (k *link) forward(from net.Conn) {
	defer from.Close()
	k.mu.Lock()
	target := k.target
	k.mu.Unlock()
	if target == nil {
		return
	}
	to, err := net.Dial(target.Network(), target.String())
	if err != nil {
		return
	}
	defer to.Close()
	if !k.register(target, from, to) {
		return
	}
	defer k.forget(from, to)
	k.running.Go(func() {
		defer from.Close()
		_, _ = io.Copy(from, to)
	})
	_, _ = io.Copy(to, from)
}

// register lets cut end the connections, unless the link was cut since they were
// made.
func (k *link) register(target net.Addr, conns ...net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.target != target {
		return false
	}
	for _, c := range conns {
		k.conns[c] = struct{}{}
	}
	return true
}

func (k *link) forget(conns ...net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range conns {
		delete(k.conns, c)
	}
}
