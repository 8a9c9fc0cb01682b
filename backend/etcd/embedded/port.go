package embedded

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
)

// port is a TCP port of a member. One that was chosen, not given, is reserved
// until it is freed, whether the member runs or not: a member that is stopped
// comes back at the same address.
type port struct {
	host   string
	number int
	// shared says that the server has to bind with SO_REUSEPORT, since the
	// reservation is bound to the port too. A given port is never shared, so
	// that a second server on it is refused.
	shared  bool
	release func()
}

// takePort returns the given port, or reserves a free one when number is 0.
func takePort(host string, number int) (*port, error) {
	if number != 0 {
		return &port{host: host, number: number, release: func() {}}, nil
	}
	number, release, err := reserve(host)
	if err != nil {
		return nil, fmt.Errorf("embedded etcd: choose a port on %q: %w", host, err)
	}
	return &port{host: host, number: number, shared: canReserve, release: release}, nil
}

func (p *port) address() string { return net.JoinHostPort(p.host, strconv.Itoa(p.number)) }
func (p *port) url() *url.URL   { return &url.URL{Scheme: "http", Host: p.address()} }
