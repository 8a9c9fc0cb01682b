package metafora

import "time"

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
	reason DeferReason
	at     int // in turns
}

// turn is when a deferral is due. Turns are compared often and the deferrals, of which a
// node of a large cluster has many, are far apart in memory.
type turn struct {
	due time.Time
	seq uint64
	d   *deferral
}

func (t *turn) before(other *turn) bool {
	if c := t.due.Compare(other.due); c != 0 {
		return c < 0
	}
	return t.seq < other.seq
}

// deferredQueue holds deferrals, at most one for an ID, in the order in which
// they are due, then in the order in which they came.
type deferredQueue struct {
	byID  map[string]*deferral
	turns []turn // a heap
	seq   uint64
	// tasks counts the deferrals that have a task.
	tasks int
}

func newDeferredQueue() deferredQueue {
	return deferredQueue{byID: make(map[string]*deferral)}
}

// add puts a candidate off. Its ID must not be in the queue.
func (q *deferredQueue) add(c candidate, due time.Time, reason DeferReason) {
	q.push(&deferral{candidate: c, id: c.task.ID(), reason: reason}, due)
	q.tasks++
}

// hold keeps the place of an ID, which must not be in the queue, until due.
func (q *deferredQueue) hold(id string, due time.Time) {
	q.push(&deferral{id: id, reason: DeferredByRelease}, due)
}

func (q *deferredQueue) push(d *deferral, due time.Time) {
	q.seq++
	q.byID[d.id] = d
	q.turns = append(q.turns, turn{due: due, seq: q.seq, d: d})
	q.up(len(q.turns) - 1)
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
func (q *deferredQueue) first() *turn {
	if len(q.turns) == 0 {
		return nil
	}
	return &q.turns[0]
}

func (q *deferredQueue) remove(d *deferral) {
	at, last := d.at, len(q.turns)-1
	q.turns[at] = q.turns[last]
	q.turns[last] = turn{}
	q.turns = q.turns[:last]
	if at < last {
		q.down(q.up(at))
	}
	delete(q.byID, d.id)
	if d.task != nil {
		q.tasks--
	}
}

// hasten makes all tasks due that the Balancer has refused.
func (q *deferredQueue) hasten(now time.Time) {
	for i := range q.turns {
		if t := &q.turns[i]; t.d.reason == DeferredByBalancer && t.due.After(now) {
			t.due = now
		}
	}
	for i := len(q.turns) - 1; i >= 0; i-- {
		q.down(i)
	}
}

// up moves a turn towards the first, to where it belongs, and returns where that is.
func (q *deferredQueue) up(i int) int {
	t := q.turns[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !t.before(&q.turns[parent]) {
			break
		}
		q.put(i, q.turns[parent])
		i = parent
	}
	q.put(i, t)
	return i
}

// down moves a turn towards the last, to where it belongs.
func (q *deferredQueue) down(i int) {
	t := q.turns[i]
	for {
		child := 2*i + 1
		if child+1 < len(q.turns) && q.turns[child+1].before(&q.turns[child]) {
			child++
		}
		if child >= len(q.turns) || !q.turns[child].before(&t) {
			break
		}
		q.put(i, q.turns[child])
		i = child
	}
	q.put(i, t)
}

func (q *deferredQueue) put(i int, t turn) {
	q.turns[i] = t
	t.d.at = i
}

// list returns the tasks in the queue, in no order.
func (q *deferredQueue) list() []Deferred {
	list := make([]Deferred, 0, q.tasks)
	for _, t := range q.turns {
		if t.d.task != nil {
			list = append(list, Deferred{ID: t.d.id, Until: t.due, Reason: t.d.reason})
		}
	}
	return list
}
