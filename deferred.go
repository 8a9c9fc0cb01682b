package metafora

import (
	"container/heap"
	"time"
)

// Deferred is a task that a Consumer has seen and will consider later.
type Deferred struct {
	ID string
	// Until is when the task is due. One that is due waits for a free place
	// among the claims in flight or, on a frozen node, for the node to be unfrozen.
	Until  time.Time
	Reason DeferReason
}

// DeferReason tells why a task waits.
type DeferReason string

// The reasons to put a task off.
const (
	// DeferredByBalancer marks tasks that the Balancer refused. They are
	// reconsidered earlier when the cluster changes, and after balancing.
	DeferredByBalancer DeferReason = "balancer"
	// DeferredByError marks tasks whose claim the broker failed.
	DeferredByError DeferReason = "error"
	// DeferredByRelease marks tasks that this node released a moment ago and
	// leaves to the others.
	DeferredByRelease DeferReason = "released"
	// DeferredByRun marks tasks that were announced while a claim or handler of
	// this node was in the way, which has ended.
	DeferredByRun DeferReason = "run"
)

// minDeferral is the shortest time that a refused task waits, so that a
// Balancer which names times in the past does not keep the main loop busy.
const minDeferral = 100 * time.Millisecond

// candidate is a task that might be claimed.
type candidate struct {
	task      Task
	announced time.Time // when this node first heard of it
	failures  int       // how many claims the broker failed in a row
	unasked   bool      // the Balancer has not heard of it since it was announced
}

// deferral is a candidate's place in the queue. One without a task only keeps
// the place: a task of the ID that is announced meanwhile has to wait there.
type deferral struct {
	candidate
	id     string
	due    time.Time
	reason DeferReason
	seq    uint64
	index  int
}

// deferredQueue holds deferrals, at most one for an ID, in the order in which
// they are due, then in the order in which they came.
type deferredQueue struct {
	byID map[string]*deferral
	heap deferralHeap
	seq  uint64
	// tasks counts the deferrals that have a task.
	tasks int
}

func newDeferredQueue() deferredQueue {
	return deferredQueue{byID: make(map[string]*deferral)}
}

// add puts a candidate off. Its ID must not be in the queue.
func (q *deferredQueue) add(c candidate, due time.Time, reason DeferReason) {
	q.push(&deferral{candidate: c, id: c.task.ID(), due: due, reason: reason})
	q.tasks++
}

// hold keeps the place of an ID, which must not be in the queue, until due.
func (q *deferredQueue) hold(id string, due time.Time) {
	q.push(&deferral{id: id, due: due, reason: DeferredByRelease})
}

func (q *deferredQueue) push(d *deferral) {
	q.seq++
	d.seq = q.seq
	q.byID[d.id] = d
	heap.Push(&q.heap, d)
}

// announced tells what becomes of a task that was announced: whether it has to
// wait in the queue, as the newest of its ID, or is to be considered now.
func (q *deferredQueue) announced(t Task, now time.Time) (waits bool) {
	d := q.byID[t.ID()]
	if d == nil {
		return false
	}
	if d.reason == DeferredByBalancer {
		// What the Balancer said was about the task as it was.
		q.remove(d)
		return false
	}
	if d.task == nil {
		d.announced = now
		q.tasks++
	}
	d.task, d.unasked = t, true
	return true
}

// first returns what is due first, nil if the queue is empty.
func (q *deferredQueue) first() *deferral {
	if len(q.heap) == 0 {
		return nil
	}
	return q.heap[0]
}

func (q *deferredQueue) remove(d *deferral) {
	heap.Remove(&q.heap, d.index)
	delete(q.byID, d.id)
	if d.task != nil {
		q.tasks--
	}
}

// hasten makes all tasks due that the Balancer has refused.
func (q *deferredQueue) hasten(now time.Time) {
	for _, d := range q.heap {
		if d.reason == DeferredByBalancer && d.due.After(now) {
			d.due = now
		}
	}
	heap.Init(&q.heap)
}

// list returns the tasks in the queue, in no order.
func (q *deferredQueue) list() []Deferred {
	list := make([]Deferred, 0, q.tasks)
	for _, d := range q.heap {
		if d.task != nil {
			list = append(list, Deferred{ID: d.id, Until: d.due, Reason: d.reason})
		}
	}
	return list
}

// deferralHeap implements [heap.Interface].
type deferralHeap []*deferral

func (h deferralHeap) Len() int { return len(h) }

func (h deferralHeap) Less(i, j int) bool {
	if c := h[i].due.Compare(h[j].due); c != 0 {
		return c < 0
	}
	return h[i].seq < h[j].seq
}

func (h deferralHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *deferralHeap) Push(x any) {
	d := x.(*deferral)
	d.index = len(*h)
	*h = append(*h, d)
}

func (h *deferralHeap) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return d
}
