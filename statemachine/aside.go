package statemachine

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// aside calls f on another stack, which is given back when f has returned. A
// node may run a hundred thousand tasks, each of which is parked nearly all the
// time, and the stack of a goroutine that went deep once, into the broker's
// client say, would stay large.
func aside(f func() error) error {
	result := make(chan error, 1)
	go func() {
		err := errGoexit
		defer func() { result <- err }()
		err = protect(f)
	}()
	return <-result
}

var errGoexit = errors.New("runtime.Goexit was called")

// protect makes an error of a panic. The Consumer would take that for the end of
// the task, and outside its goroutine it would be the end of the process.
func protect(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = crash(p)
		}
	}()
	return f()
}

// crash returns an error with the stack of a panic. It is called in a deferred
// function.
func crash(recovered any) error {
	return fmt.Errorf("panic: %v\n\n%s", recovered, debug.Stack())
}
