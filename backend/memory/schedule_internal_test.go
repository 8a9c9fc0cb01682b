package memory

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// testSchedule is a schedule whose alarms note that they rang. Its lock is what
// the broker's is for a real one.
type testSchedule struct {
	mu sync.Mutex
	schedule
	names []string
}

func newTestSchedule() *testSchedule {
	s := &testSchedule{}
	s.fire = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.runDue()
	}
	return s
}

func (s *testSchedule) alarm(name string) *alarm {
	return s.newAlarm(func() { s.names = append(s.names, name) })
}

// setIn sets an alarm to a time from now.
func (s *testSchedule) setIn(a *alarm, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(a, time.Now().Add(d))
}

func (s *testSchedule) stop(a *alarm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancel(a)
}

// wantRung lets time pass and fails the test unless these alarms ring in it.
func (s *testSchedule) wantRung(t *testing.T, d time.Duration, want ...string) {
	t.Helper()
	time.Sleep(d)
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.names, want) {
		t.Fatalf("%q rang, want %q", s.names, want)
	}
	s.names = nil
}

func TestAlarmsRingInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSchedule()
		first, second, third, never := s.alarm("first"), s.alarm("second"), s.alarm("third"), s.alarm("never")
		s.setIn(third, 2*time.Second)
		s.setIn(never, time.Second)
		s.setIn(second, time.Second)
		s.setIn(first, time.Second)
		s.stop(never)
		s.stop(never)
		s.wantRung(t, time.Second-1)
		s.wantRung(t, 1, "first", "second")

		s.setIn(third, time.Hour) // later than it was
		s.setIn(first, time.Minute)
		s.wantRung(t, time.Minute, "first")

		s.setIn(second, -time.Minute)
		s.wantRung(t, 0, "second")

		s.stop(third)
		s.wantRung(t, 2*time.Hour)
	})
}
