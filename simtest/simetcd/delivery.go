package simetcd

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// maxBatchRevs is how many revisions etcd sends at most in one response to a
// watch that catches up.
const maxBatchRevs = 1000

// serve hands responses to the client until its context or the watch ends. In
// Manual mode those are what it was slow to take.
func (w *Watch) serve(ctx context.Context) {
	defer close(w.out)
	defer w.server.removeWatch(w)
	for {
		resp, out, open := w.first()
		if !open {
			return
		}
		select {
		case out <- resp:
			w.taken()
		case <-w.wake:
		case <-ctx.Done():
			return
		}
	}
}

// first returns the first response that the client has yet to take, and where it
// goes: nowhere if there is none. It reports whether the watch goes on.
func (w *Watch) first() (resp clientv3.WatchResponse, out chan<- clientv3.WatchResponse, open bool) {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	if !w.server.manual {
		w.handAll()
	}
	if len(w.handed) == 0 {
		return resp, nil, !w.last
	}
	return w.handed[0], w.out, true
}

// taken notes that the client took the first response.
func (w *Watch) taken() {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	if len(w.handed) > 0 { // else the watch was closed meanwhile
		w.handed = w.handed[1:]
	}
}

// The methods below need the server's mutex.

// handAll hands over what there is, as long as the client takes it.
func (w *Watch) handAll() {
	for w.ready() {
		n := 1
		if w.behind {
			n = maxBatchRevs
		}
		if !w.handNext(n) {
			return
		}
	}
}

// handNext hands over a response of up to n revisions. It reports whether there
// was one.
func (w *Watch) handNext(n int) bool {
	resp, last, ok := w.batch(n)
	if ok {
		w.hand(resp, last)
	}
	return ok
}

// hand gives a response to the client, or leaves it for serve if there is one
// that the client has yet to take.
func (w *Watch) hand(resp clientv3.WatchResponse, last bool) {
	if w.last {
		return // a watch ends once
	}
	w.last = last
	direct := len(w.handed) == 0 && w.offer(resp)
	if !direct {
		w.handed = append(w.handed, resp)
	}
	if !direct || last {
		w.signal()
	}
}

// offer gives a response to the client if that has taken all those before. It
// never waits.
func (w *Watch) offer(resp clientv3.WatchResponse) bool {
	select {
	case w.out <- resp:
		return true
	default:
		return false
	}
}

func (w *Watch) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// end ends the watch; what was handed but not taken is lost.
func (w *Watch) end() {
	w.handed, w.last = nil, true
	w.signal()
}

// ready tells that the watch could hand something over now.
func (w *Watch) ready() bool {
	return len(w.handed) == 0 && !w.last && w.client.up == nil
}

// pending tells that there is something to deliver.
func (w *Watch) pending() bool {
	return w.ready() && (w.compacted() || len(w.progress) > 0 || w.peek() != nil)
}

// seek makes the watch go on at a revision; 0 stands for the next one.
func (w *Watch) seek(rev int64) {
	s := &w.server.store
	w.start = rev
	w.behind = rev != 0 && rev <= s.rev
	if rev == 0 {
		rev = s.rev + 1
	}
	w.from = rev
	w.pos = s.since(rev)
	w.progress = nil
	w.settle()
}

func (w *Watch) resume() {
	if !w.last {
		w.seek(w.next)
	}
}

// begun tells that the watch does not wait for a revision of the future.
func (w *Watch) begun() bool { return w.start <= w.server.store.rev }

// settle notices that there is nothing to catch up with.
func (w *Watch) settle() {
	if w.behind && !w.compacted() && w.peek() == nil {
		w.behind = false
	}
}

// compacted tells that the watch cannot catch up any more.
func (w *Watch) compacted() bool { return w.behind && w.from < w.server.store.compacted }

func (w *Watch) wants(c *change) bool {
	kind := w.puts
	if c.event.Type == clientv3.EventTypeDelete {
		kind = w.dels
	}
	return kind && c.rev() >= w.from && w.keys.contains(c.event.Kv.Key)
}

// peek returns the next change for the watch and skips those before it.
func (w *Watch) peek() *change {
	log := w.server.store.log
	for ; w.pos < len(log); w.pos++ {
		if c := &log[w.pos]; w.wants(c) {
			return c
		}
	}
	return nil
}

// progressDue tells whether a progress notification comes before a change.
func (w *Watch) progressDue(next *change) bool {
	return len(w.progress) > 0 && (next == nil || next.rev() > w.progress[0])
}

// batch makes a response of up to n revisions.
func (w *Watch) batch(n int) (resp clientv3.WatchResponse, last, ok bool) {
	s := &w.server.store
	if w.compacted() {
		return clientv3.WatchResponse{
			Header: w.server.headerAt(0), CompactRevision: s.compacted, Canceled: true,
		}, true, true
	}
	next := w.peek()
	if w.progressDue(next) {
		rev := w.progress[0]
		w.progress = w.progress[1:]
		w.next = rev + 1
		return clientv3.WatchResponse{Header: w.server.headerAt(rev)}, false, true
	}
	var events []*clientv3.Event
	var rev int64
	revs := 0
	for ; next != nil && !w.progressDue(next); next = w.peek() {
		if next.rev() != rev {
			if revs == n {
				break
			}
			revs++
		}
		rev = next.rev()
		events = append(events, w.event(next))
		w.pos++
	}
	if events == nil {
		return resp, false, false
	}
	resp = clientv3.WatchResponse{Header: w.server.headerAt(w.seenTo(rev, revs, next)), Events: events}
	w.from, w.next = rev+1, rev+1
	if next != nil {
		w.from = next.rev()
	}
	w.settle()
	return resp, false, true
}

// seenTo is the revision in the header of a response whose events end at rev:
// that of the store when etcd made it.
func (w *Watch) seenTo(rev int64, revs int, next *change) int64 {
	cur := w.server.store.rev
	if len(w.progress) > 0 {
		cur = w.progress[0]
	}
	switch {
	case w.behind:
		return w.server.store.rev // even when more is to come
	case revs > 1 && next == nil:
		return cur
	}
	return rev
}

// event is a change as the watch asked for it. A watch that catches up no longer
// sees what was before the compaction.
func (w *Watch) event(c *change) *clientv3.Event {
	if !w.req.PrevKv || w.behind && c.rev()-1 < w.server.store.compacted {
		return c.event
	}
	return c.withPrev()
}
