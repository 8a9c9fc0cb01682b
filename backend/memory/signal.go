package memory

// signal wakes all who wait for something to happen. The broker's lock guards
// it. Its zero value is ready; it makes its channel when somebody waits, so
// that the channel belongs to the waiter's synctest bubble.
type signal struct{ ch chan struct{} }

// wait returns a channel that is closed when the signal next fires.
func (s *signal) wait() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) fire() {
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
