package etcd

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/metafora-go/metafora"
)

// What follows is the way of a task from the index to a claim.

// nextWaiting takes the next task to announce off the queue, nil for none.
func (x *index) nextWaiting() (e *entry, props []byte, submission int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(x.waiting) > 0 {
		e, x.waiting = x.waiting[0], x.waiting[1:]
		e.queued = false
		if e.claimable() && !e.announced && !e.claiming {
			return e, e.props, e.submission
		}
	}
	x.waiting = nil
	return nil, nil, 0
}

// announceAll queues what an earlier Watch has announced and is still claimable.
func (x *index) announceAll() {
	x.mu.Lock()
	defer x.mu.Unlock()
	var again []*entry
	for _, e := range x.tasks {
		if e.claimable() && e.announced {
			again = append(again, e)
		}
	}
	var none effects
	for _, e := range bySubmission(again) {
		e.announced = false
		x.settle(e, &none)
	}
}

// setAnnounced notes that t is about to be announced, or with a nil t that the
// TaskFunc refused it. It reports false if things have changed since nextWaiting.
func (x *index) setAnnounced(e *entry, submission int64, t metafora.Task) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e.submission != submission || !e.claimable() {
		return false
	}
	e.task, e.announced = t, true
	return true
}

// unannounce puts a task whose announcement was not received back in front.
func (x *index) unannounce(e *entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e.claimable() && e.announced && !e.queued {
		e.announced, e.queued = false, true
		x.waiting = slices.Insert(x.waiting, 0, e)
	}
}

func (x *index) claimable(id string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.tasks[id]
	return e != nil && e.claimable() && !e.claiming
}

// beginClaim checks a claim against what is known and returns the submission
// that it is for. decode makes a fresh task of stored properties.
func (x *index) beginClaim(t metafora.Task, decode func(id string, props []byte) (metafora.Task, error)) (int64, error) {
	id := t.ID()
	x.mu.Lock()
	e := x.tasks[id]
	if e == nil || !e.claimable() || e.claiming {
		defer x.mu.Unlock()
		if e == nil || e.submission == 0 || e.props == nil {
			return 0, metafora.ErrNoTask
		}
		return 0, metafora.ErrClaimed
	}
	announced, submission, props := e.task != nil, e.submission, e.props
	if sameTask(e.task, t) {
		e.claiming = true
		x.mu.Unlock()
		return submission, nil
	}
	x.mu.Unlock()

	// t was announced for an earlier submission, or before the task was claimed
	// and released by others. Either way it may only be claimed if it is what
	// the task is now.
	if announced {
		return 0, fmt.Errorf("%w: submitted or released again since it was announced", metafora.ErrNoTask)
	}
	fresh, err := decode(id, props)
	if err != nil || !reflect.DeepEqual(fresh, t) {
		return 0, fmt.Errorf("%w: differs from the one announced", metafora.ErrNoTask)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch e := x.tasks[id]; {
	case e == nil || e.submission != submission:
		return 0, metafora.ErrNoTask
	case !e.claimable() || e.claiming:
		return 0, metafora.ErrClaimed
	default:
		e.claiming = true
		return submission, nil
	}
}

// sameTask reports whether a and b are one task object, or values that cannot
// be told apart.
func sameTask(a, b metafora.Task) bool {
	if a == nil || reflect.TypeOf(a) != reflect.TypeOf(b) {
		return false
	}
	if reflect.ValueOf(a).Comparable() {
		return a == b
	}
	return reflect.DeepEqual(a, b)
}
