package metafora

import (
	"cmp"
	"slices"
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
	announced time.Duration // when this node first heard of it, since the Consumer was made
	failures  int32         // how many claims the broker failed in a row
	unasked   bool          // the Balancer has not heard of it since it was announced
}

// deferral is a candidate's place in the queue. One without a task only keeps
// the place: a task of the ID that is announced meanwhile has to wait there. A node
// of a large cluster has one for most tasks, so they are small.
type deferral struct {
	candidate
	id     string
	reason reasonNumber
	gone   bool // it is no longer in the queue, but its turn is
}

// reasonNumber stands for one of the DeferReasons.
type reasonNumber uint8

func deferReasons() [4]DeferReason {
	return [...]DeferReason{DeferredByBalancer, DeferredByError, DeferredByRelease, DeferredByRun}
}

func numberOf(r DeferReason) reasonNumber {
	all := deferReasons()
	return reasonNumber(slices.Index(all[:], r))
}

// turn is when a deferral is due, since the queue was made. Turns are compared often and
// the deferrals are far apart in memory.
type turn struct {
	due time.Duration
	seq uint64
	d   *deferral
}

func (t turn) compare(other turn) int {
	return cmp.Or(cmp.Compare(t.due, other.due), cmp.Compare(t.seq, other.seq))
}

func (t *turn) before(other *turn) bool {
	return t.due < other.due || t.due == other.due && t.seq < other.seq
}

// deferredQueue holds deferrals, at most one for an ID, in the order in which
// they are due, then in the order in which they came.
type deferredQueue struct {
	made time.Time
	byID map[string]*deferral
	// What the Balancer refused waits apart, as all of that is hastened at once. Then
	// it is sorted, and taken from the front for nothing.
	hastened        []turn
	refused, others turns
	seq             uint64
	tasks           int // how many deferrals have a task
	gone            int // how many turns are those of deferrals that are gone
}

func newDeferredQueue(now time.Time) deferredQueue {
	return deferredQueue{made: now, byID: make(map[string]*deferral)}
}

// add puts a candidate off. Its ID must not be in the queue.
func (q *deferredQueue) add(c candidate, due time.Time, reason DeferReason) {
	q.push(&deferral{candidate: c, id: c.task.ID(), reason: numberOf(reason)}, due)
	q.tasks++
}

// hold keeps the place of an ID, which must not be in the queue, until due.
func (q *deferredQueue) hold(id string, due time.Time) {
	q.push(&deferral{id: id, reason: numberOf(DeferredByRelease)}, due)
}

func (q *deferredQueue) push(d *deferral, due time.Time) {
	q.seq++
	q.byID[d.id] = d
	ts := &q.others
	if d.wasRefused() {
		ts = &q.refused
	}
	ts.push(turn{due: due.Sub(q.made), seq: q.seq, d: d})
}

func (d *deferral) wasRefused() bool { return d.reason == numberOf(DeferredByBalancer) }

// announced tells what becomes of a task that was announced: whether it has to
// wait in the queue, as the newest of its ID, or is to be considered now.
func (q *deferredQueue) announced(t Task, now time.Time) (waits bool) {
	d := q.byID[t.ID()]
	if d == nil {
		return false
	}
	if d.wasRefused() {
		// What the Balancer said was about the task as it was.
		q.remove(d)
		*d = deferral{gone: true}
		q.gone++
		q.sweep()
		return false
	}
	if d.task == nil {
		d.announced = now.Sub(q.made)
		q.tasks++
	}
	d.task, d.unasked = t, true
	return true
}

// first returns what is due first, and when; nil if the queue is empty.
func (q *deferredQueue) first() (d *deferral, due time.Time) {
	t := q.firstTurn()
	if t == nil {
		return nil, due
	}
	return t.d, q.made.Add(t.due)
}

func (q *deferredQueue) firstTurn() *turn {
	for {
		var first *turn
		for _, ts := range [...][]turn{q.hastened, q.refused, q.others} {
			if len(ts) > 0 && (first == nil || ts[0].before(first)) {
				first = &ts[0]
			}
		}
		if first == nil || !first.d.gone {
			return first
		}
		q.gone--
		q.drop(first)
	}
}

// take takes out what is due first, of a queue that is not empty.
func (q *deferredQueue) take() *deferral {
	first := q.firstTurn()
	d := first.d
	q.drop(first)
	q.remove(d)
	q.sweep()
	return d
}

// drop takes out the first turn.
func (q *deferredQueue) drop(first *turn) {
	switch {
	case len(q.hastened) > 0 && first == &q.hastened[0]:
		*first = turn{}
		q.hastened = q.hastened[1:]
	case len(q.refused) > 0 && first == &q.refused[0]:
		q.refused.pop()
	default:
		q.others.pop()
	}
}

func (q *deferredQueue) remove(d *deferral) {
	delete(q.byID, d.id)
	if d.task != nil {
		q.tasks--
	}
}

// sweep drops the turns of those that are gone when they are more than the others.
func (q *deferredQueue) sweep() {
	if q.gone <= len(q.byID) {
		return
	}
	q.gone = 0
	for _, ts := range []*[]turn{&q.hastened, (*[]turn)(&q.refused), (*[]turn)(&q.others)} {
		*ts = slices.DeleteFunc(*ts, func(t turn) bool { return t.d.gone })
		slices.SortFunc(*ts, turn.compare)
	}
}

// hasten makes all tasks due that the Balancer has refused.
func (q *deferredQueue) hasten(now time.Time) {
	latest := now.Sub(q.made)
	q.hastened = append(q.hastened, q.refused...)
	clear(q.refused)
	q.refused = q.refused[:0]
	for i := range q.hastened {
		t := &q.hastened[i]
		t.due = min(t.due, latest)
	}
	slices.SortFunc(q.hastened, turn.compare)
}

// list returns the tasks in the queue, in no order.
func (q *deferredQueue) list() []Deferred {
	list := make([]Deferred, 0, q.tasks)
	for _, ts := range [...][]turn{q.hastened, q.refused, q.others} {
		for _, t := range ts {
			if d := t.d; d.task != nil && !d.gone {
				list = append(list, Deferred{ID: d.id, Until: q.made.Add(t.due), Reason: deferReasons()[d.reason]})
			}
		}
	}
	return list
}

// turns is a heap: the first is the one before all others.
type turns []turn

func (ts *turns) push(t turn) {
	h := append(*ts, t)
	*ts = h
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !t.before(&h[parent]) {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = t
}

// pop drops the first.
func (ts *turns) pop() {
	last := len(*ts) - 1
	t := (*ts)[last]
	(*ts)[last] = turn{}
	h := (*ts)[:last]
	*ts = h
	if last == 0 {
		return
	}
	i := 0
	for child := 1; child < last; child = 2*i + 1 {
		if child+1 < last && h[child+1].before(&h[child]) {
			child++
		}
		if !h[child].before(&t) {
			break
		}
		h[i] = h[child]
		i = child
	}
	h[i] = t
}
