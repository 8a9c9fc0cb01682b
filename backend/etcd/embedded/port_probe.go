//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package embedded

import "net"

const canReserve = false

// reserve finds a port that is free now. Another process can take it before the
// server does, which then fails to start.
func reserve(host string) (number int, release func(), err error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return 0, nil, err
	}
	number = l.Addr().(*net.TCPAddr).Port
	return number, func() {}, l.Close()
}
