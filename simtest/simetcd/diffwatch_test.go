package simetcd_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/metafora-go/metafora/simtest/simetcd"
)

// watchPair is the same watch on both sides.
type watchPair struct {
	text      string
	from      int64
	sim, etcd *watchLog
	simWatch  *simetcd.Watch // nil where the simulated one was refused
}

// watch draws a watch.
func (w *world) watch() {
	if len(w.watches) == 3 {
		return // the stream of etcd's client must be waited for, which takes time
	}
	key := w.drawKey()
	opts, text := w.drawRange()
	rev := w.drawRev()
	if w.chance(40, "from now") {
		rev = 0
	}
	for _, o := range []struct {
		name string
		opt  clientv3.OpOption
	}{
		{"prev", clientv3.WithPrevKV()},
		{"created", clientv3.WithCreatedNotify()},
		{"fragment", clientv3.WithFragment()},
		{"no puts", clientv3.WithFilterPut()},
		{"no deletes", clientv3.WithFilterDelete()},
	} {
		if w.chance(25, o.name) {
			opts = append(opts, o.opt)
			text += " " + o.name
		}
	}
	w.open(key, opts, text, rev)
}

// open opens a watch on both sides, each on a stream of its own, so that asking
// for progress concerns it alone.
func (w *world) open(key string, opts []clientv3.OpOption, text string, rev int64) {
	p := &watchPair{text: fmt.Sprintf("watch %q%s from @%d", key, text, rev), from: rev}
	before := w.server.Watches()
	stream := fmt.Sprint(len(w.watches))
	p.sim = newWatchLog(w.ctx, w.sim, stream, key, append(slices.Clone(opts), clientv3.WithRev(rev)))
	p.etcd = newWatchLog(w.ctx, w.etcd, stream, key, append(slices.Clone(opts), clientv3.WithRev(w.etcd.rev(rev))))
	for _, sw := range w.server.Watches() {
		if !slices.Contains(before, sw) {
			p.simWatch = sw
		}
	}
	w.watches = append(w.watches, p)
}

// deliverSome lets the simulated watches lag behind one another, as a scheduler
// would. What they deliver in the end must not depend on it.
func (w *world) deliverSome() {
	for _, p := range w.watches {
		if p.simWatch != nil {
			p.simWatch.Deliver(rapid.IntRange(1, 3).Draw(w.t, "revisions"))
		}
	}
}

// catchUp waits until both watches have delivered all there is.
func (p *watchPair) catchUp(w *world) {
	w.t.Helper()
	rev := w.server.Revision()
	if p.from > rev {
		return
	}
	p.etcd.await(w, rev)
	if p.simWatch == nil {
		return
	}
	deadline := time.Now().Add(10 * time.Second)
	for !p.sim.reached(rev) {
		// A watch that has to catch up is not told, so it is asked again.
		if err := w.sim.RequestProgress(p.sim.ctx); err != nil {
			w.t.Fatal(err)
		}
		if !p.simWatch.Deliver(2) {
			runtime.Gosched() // to the goroutines that pass on what it delivered before
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: simulated watch is stuck before @%d", p.text, rev)
		}
	}
}

func (w *world) compareWatches() {
	w.t.Helper()
	for _, p := range w.watches {
		for w.server.Revision() < p.from {
			w.compare(opOf("put", func(*side) clientv3.Op { return clientv3.OpPut("a", "later") }))
		}
	}
	for _, p := range w.watches {
		p.catchUp(w)
		if p.simWatch == nil {
			p.sim.awaitEnd(w)
		}
		got, want := p.sim.result(), p.etcd.result()
		if !slices.Equal(got, want) {
			w.t.Fatalf("%s\nsimulated: %q\n     etcd: %q", p.text, got, want)
		}
	}
}

func (w *world) closeWatches() {
	for _, p := range w.watches {
		p.sim.close()
		p.etcd.close()
	}
}

// watchLog collects what a watch delivers.
type watchLog struct {
	side   *side
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex // guards the fields below
	lines    []string
	last     int64 // revision of the last event
	progress int64 // revision of the last progress notification
	ended    bool
}

func newWatchLog(ctx context.Context, s *side, stream, key string, opts []clientv3.OpOption) *watchLog {
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(ctx, "watch", stream))
	l := &watchLog{side: s, ctx: ctx, cancel: cancel, done: make(chan struct{})}
	ch := s.Watch(ctx, key, opts...)
	go l.collect(ch)
	return l
}

func (l *watchLog) collect(ch clientv3.WatchChan) {
	defer close(l.done)
	for resp := range ch {
		l.add(resp)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

func (l *watchLog) add(resp clientv3.WatchResponse) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rev := l.side.relative(resp.Header.GetRevision())
	switch {
	case resp.Err() != nil:
		// An error that clientv3 keeps to itself can only be given as a status.
		text := status.Convert(resp.Err()).Message()
		l.lines = append(l.lines, fmt.Sprintf("error %s, compacted @%d, canceled %v", text, l.side.relative(resp.CompactRevision), resp.Canceled))
	case resp.Created:
		l.lines = append(l.lines, fmt.Sprintf("created %s", l.side.dumpHeader(resp.Header)))
	case resp.IsProgressNotify():
		l.progress = rev
	}
	for i, e := range resp.Events {
		mod := l.side.relative(e.Kv.ModRevision)
		if i == 0 && mod == l.last {
			l.lines = append(l.lines, "a revision is split over two responses")
		}
		if mod < l.last || mod > rev {
			l.lines = append(l.lines, fmt.Sprintf("@%d after @%d in a response @%d", mod, l.last, rev))
		}
		l.last = mod
		l.lines = append(l.lines, l.side.dumpEvent(e))
	}
}

// reached tells whether nothing up to rev is missing any more.
func (l *watchLog) reached(rev int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended || l.progress >= rev
}

// await asks for progress until it is there: etcd answers only when the watch
// has caught up, which it looks at ten times a second.
func (l *watchLog) await(w *world, rev int64) {
	w.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !l.reached(rev) {
		if time.Now().After(deadline) {
			w.t.Fatalf("watch is stuck before @%d", rev)
		}
		if err := l.side.RequestProgress(l.ctx); err != nil {
			w.t.Fatal(err)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-l.done:
		}
	}
}

func (l *watchLog) awaitEnd(w *world) {
	select {
	case <-l.done:
	case <-w.ctx.Done():
	}
}

func (l *watchLog) result() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

func (l *watchLog) close() {
	l.cancel()
	<-l.done
}
