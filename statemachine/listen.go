package statemachine

import "github.com/metafora-go/metafora"

// listen has deliver called with the commands for the task of a claim, until
// the caller calls stop.
func listen(l CommandListener, c metafora.Claim, deliver func(Command)) (stop func()) {
	if caller, ok := l.(CommandCaller); ok {
		return caller.ListenFunc(c, deliver)
	}
	commands, stopListening := l.Listen(c)
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		callBack(commands, quit, deliver)
	}()
	return func() {
		close(quit)
		<-ended
		stopListening()
	}
}

func callBack(commands <-chan Command, quit <-chan struct{}, deliver func(Command)) {
	for {
		select {
		case cmd := <-commands:
			deliver(cmd)
		case <-quit:
			return
		}
	}
}

// CommandChannel makes a backend's Listen of its ListenFunc: it returns the
// channel that holds the newest command with which listen's deliver was called.
func CommandChannel(listen func(deliver func(Command)) (stop func())) (commands <-chan Command, stop func()) {
	newest := make(chan Command, 1)
	empty := func() {
		select {
		case <-newest:
		default:
		}
	}
	stopListening := listen(func(cmd Command) {
		empty()
		newest <- cmd // deliver is called once at a time: there is room
	})
	return newest, func() {
		stopListening()
		empty()
	}
}
