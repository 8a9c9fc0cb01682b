package memory

import (
	"container/heap"
	"sync/atomic"
	"time"
)

// schedule runs all timers of a broker on one standard timer, in the order of
// their times and, for one time, of their creation. With a standard timer each,
// leases that end at the same instant would end in any order.
type schedule struct {
	fire  func() // what the standard timer calls; it calls runDue
	timer *time.Timer
	armed time.Time // when timer fires, zero if it does not
	// next is armed as Unix nanoseconds, 0 for zero, for readers without the
	// lock. A clock that was set back makes them late, no more.
	next   atomic.Int64
	queue  alarmQueue
	alarms uint64 // how many were created
}

// alarm is one timer. It does nothing until it is set.
type alarm struct {
	run   func()
	order uint64
	at    time.Time
	index int // in the queue, -1 while not set
}

func (s *schedule) newAlarm(run func()) *alarm {
	s.alarms++
	return &alarm{run: run, order: s.alarms, index: -1}
}

// set makes a ring at the given time instead of any other it was set to.
func (s *schedule) set(a *alarm, at time.Time) {
	a.at = at
	if a.index < 0 {
		heap.Push(&s.queue, a)
	} else {
		heap.Fix(&s.queue, a.index)
	}
	s.arm()
}

func (s *schedule) cancel(a *alarm) {
	if a.index >= 0 {
		heap.Remove(&s.queue, a.index)
		s.arm()
	}
}

// due reports, without any lock, whether there is something for runDue.
func (s *schedule) due() bool {
	next := s.next.Load()
	return next != 0 && time.Now().UnixNano() >= next
}

// runDue runs what is due, including what becomes due by it.
func (s *schedule) runDue() {
	for len(s.queue) > 0 && !s.queue[0].at.After(time.Now()) {
		heap.Pop(&s.queue).(*alarm).run()
	}
	s.arm()
}

// arm sets the standard timer to the first alarm.
func (s *schedule) arm() {
	switch {
	case len(s.queue) == 0:
		if s.timer != nil {
			s.timer.Stop()
		}
		s.armed = time.Time{}
		s.next.Store(0)
	case s.armed.Equal(s.queue[0].at):
	default:
		s.armed = s.queue[0].at
		s.next.Store(s.armed.UnixNano())
		if s.timer == nil {
			s.timer = time.AfterFunc(time.Until(s.armed), s.fire)
		} else {
			s.timer.Reset(time.Until(s.armed))
		}
	}
}

// alarmQueue is a heap.Interface.
type alarmQueue []*alarm

func (q alarmQueue) Len() int { return len(q) }

func (q alarmQueue) Less(i, j int) bool {
	if c := q[i].at.Compare(q[j].at); c != 0 {
		return c < 0
	}
	return q[i].order < q[j].order
}

func (q alarmQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *alarmQueue) Push(x any) {
	a := x.(*alarm)
	a.index = len(*q)
	*q = append(*q, a)
}

func (q *alarmQueue) Pop() any {
	old := *q
	a := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	a.index = -1
	return a
}
