//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// guardArg as the only argument makes this program the guard of another one.
const guardArg = "guard-of-children"

// order is a line from koalemosd to its guard.
type order struct {
	// Deadline is until when the lease of the node is good, by the monotonic
	// clock, which both processes see and nobody sets. The latest one counts.
	Deadline time.Duration `json:"deadline,omitempty"`
	// Watch and Forget are process groups, 0 for none.
	Watch  int `json:"watch,omitempty"`
	Forget int `json:"forget,omitempty"`
}

// guard is a process of its own that kills the children of this one when this
// one cannot: when it was killed itself, or does not run, as after SIGSTOP,
// while its lease ends. Without it a command would go on while another node
// starts it again.
type guard struct {
	cmd *exec.Cmd
	// orders takes a line at a time; a pipe does not mix what is written to it
	// concurrently.
	orders io.WriteCloser
	// gone is closed when the process has ended, however it came to that.
	gone chan struct{}
}

func startGuard() (*guard, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start guard: %w", err)
	}
	cmd := exec.Command(self, guardArg)
	cmd.Stderr = os.Stderr
	// In a group of its own the guard is spared what is meant for ours, such as
	// SIGKILL of a shell's job.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	orders, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start guard: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start guard: %w", err)
	}
	g := &guard{cmd: cmd, gone: make(chan struct{}), orders: orders}
	go g.wait()
	return g, nil
}

func (g *guard) wait() {
	defer close(g.gone)
	_ = g.cmd.Wait() // that it has ended is all there is to know
}

// watch puts a process group under guard until forget.
func (g *guard) watch(group int, deadline time.Time) error {
	return g.send(order{Deadline: monotonic() + time.Until(deadline), Watch: group})
}

func (g *guard) forget(group int) error { return g.send(order{Forget: group}) }

// extend says that the lease is good until deadline.
func (g *guard) extend(deadline time.Time) error {
	return g.send(order{Deadline: monotonic() + time.Until(deadline)})
}

func (g *guard) send(o order) error {
	line, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("order for guard: %w", err)
	}
	if _, err := g.orders.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("guard is gone: %w", err)
	}
	return nil
}

// monotonic reads the clock of an order's deadline.
func monotonic() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // fails for other clocks only
	return time.Duration(now.Nano())
}

// close ends the guard, which kills what is still under guard.
func (g *guard) close() {
	_ = g.orders.Close()
	<-g.gone
}

// guardMain is the guard's process. It returns the exit status.
func guardMain(in io.Reader, stderr io.Writer) int {
	// Ctrl-C and the end of a session are for koalemosd to handle.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	err := guardChildren(in, monotonic, func(group int) {
		if err := killGroup(group, syscall.SIGKILL); err != nil {
			fmt.Fprintln(stderr, "koalemosd:", err)
		}
	})
	if err != nil {
		fmt.Fprintln(stderr, "koalemosd:", err)
		return 1
	}
	return 0
}

// guardChildren is what the guard does: it follows the orders from in until
// those end, and kills all groups then, and whenever the deadline passes.
func guardChildren(in io.Reader, now func() time.Duration, kill func(group int)) error {
	orders := make(chan order)
	failed := make(chan error, 1)
	go func() {
		defer close(orders)
		failed <- readOrders(in, orders)
	}()

	groups := map[int]bool{}
	killAll := func() {
		for group := range groups {
			kill(group)
		}
		clear(groups)
	}
	defer killAll()
	var deadline time.Duration
	alarm := time.NewTimer(0)
	for {
		select {
		case o, ok := <-orders:
			if !ok {
				return <-failed
			}
			if o.Watch != 0 {
				groups[o.Watch] = true
			}
			delete(groups, o.Forget)
			deadline = max(deadline, o.Deadline)
			alarm.Reset(deadline - now())
		case <-alarm.C:
			killAll()
		}
	}
}

func readOrders(in io.Reader, orders chan<- order) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return fmt.Errorf("guard: order %q: %w", lines.Bytes(), err)
		}
		orders <- o
	}
	return lines.Err()
}

// killGroup sends a signal to all processes of a group. That there are none
// left is no error.
func killGroup(group int, sig syscall.Signal) error {
	if err := syscall.Kill(-group, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("send %v to process group %d: %w", sig, group, err)
	}
	return nil
}
