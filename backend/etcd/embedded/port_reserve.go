//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package embedded

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const canReserve = true

// reserve binds a socket to a free port with SO_REUSEPORT. The system gives that
// port to nobody else, and as the socket does not listen, it takes no
// connections from the server, which binds the port with the same option.
func reserve(host string) (number int, release func(), err error) {
	ip := net.ParseIP(host)
	if ip == nil {
		return 0, nil, fmt.Errorf("%q is not an IP address", host)
	}
	family, addr := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: [16]byte(ip.To16())})
	if v4 := ip.To4(); v4 != nil {
		family, addr = unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte(v4)}
	}
	fd, err := newSocket(family)
	if err != nil {
		return 0, nil, err
	}
	release = func() { _ = unix.Close(fd) }
	if number, err = bindFree(fd, addr); err != nil {
		release()
		return 0, nil, err
	}
	return number, release, nil
}

func newSocket(family int) (fd int, err error) {
	// Without the lock a child process started between the two calls would
	// inherit the socket, and with it the port.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err = unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	unix.CloseOnExec(fd)
	return fd, nil
}

func bindFree(fd int, addr unix.Sockaddr) (number int, err error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(fd, addr); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	bound, err := unix.Getsockname(fd)
	switch a := bound.(type) {
	case *unix.SockaddrInet4:
		return a.Port, nil
	case *unix.SockaddrInet6:
		return a.Port, nil
	}
	return 0, os.NewSyscallError("getsockname", err)
}
