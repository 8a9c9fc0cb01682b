package simetcd

import (
	"encoding/binary"
	"fmt"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

// Watch is an open watch of a client. In Manual mode a scheduler decides with
// its methods what the client gets to see, and when; all of them are safe for
// concurrent use.
//
// A watch that began at a past revision, or went on after its stream broke, has
// to catch up: until its first response it can find that what it needs was
// compacted. After that, etcd has sent all further events, and a compaction
// does it no harm until its stream breaks.
type Watch struct {
	server *Server
	client *Client
	key    string
	req    *pb.WatchCreateRequest
	keys   keyRange
	puts   bool // whether these are wanted
	dels   bool
	stream metadata.MD // watches of one client share a stream unless these differ
	made   int64       // the revision at which it was made

	out  chan clientv3.WatchResponse
	wake chan struct{} // tells serve to look for something to do

	// Guarded by the server's mutex.
	pos      int                      // index in the log of the first change not looked at
	start    int64                    // where the client asked to begin, 0 for now
	from     int64                    // the first revision of interest
	next     int64                    // where clientv3 would go on after its stream broke
	behind   bool                     // has to catch up
	progress []int64                  // revisions up to which progress is to be notified, ascending
	handed   []clientv3.WatchResponse // for serve to pass on
	last     bool                     // nothing comes after what was handed
}

// newWatch answers a request to watch. The watch is not served yet, but sees
// what is changed from now on. s.mu is held.
func (s *Server) newWatch(c *Client, r *pb.WatchCreateRequest, stream metadata.MD) (*Watch, error) {
	keys := keyRange{r.Key, r.RangeEnd}
	switch {
	case r.StartRevision < 0:
		return nil, refuseWatch("etcdserver: mvcc: required revision has been compacted")
	case !keys.point() && !keys.open() && string(r.Key) >= string(r.RangeEnd):
		return nil, refuseWatch("mvcc: watcher range is empty")
	}
	s.watched++
	w := &Watch{
		server: s, client: c, req: r, keys: keys, stream: stream, made: s.store.rev, puts: true, dels: true,
		key:  watchKey(c.node, r, s.watched),
		out:  make(chan clientv3.WatchResponse, 1),
		wake: make(chan struct{}, 1),
		next: r.StartRevision,
	}
	for _, f := range r.Filters {
		w.puts = w.puts && f != pb.WatchCreateRequest_NOPUT
		w.dels = w.dels && f != pb.WatchCreateRequest_NODELETE
	}
	w.seek(r.StartRevision)
	if r.StartRevision == 0 {
		w.next = s.store.rev // not the one after it: clientv3 is that cautious
	}
	return w, nil
}

func watchKey(node string, r *pb.WatchCreateRequest, number int64) string {
	key := slices.Concat([]byte(node), []byte{0}, r.Key, []byte{0}, r.RangeEnd, []byte{0})
	return string(binary.BigEndian.AppendUint64(key, uint64(number)))
}

// Node returns the name of the client that watches.
func (w *Watch) Node() string { return w.client.node }

// Key orders watches: by node, by what they watch, by when they were made.
func (w *Watch) Key() string { return w.key }

// String says what is watched.
func (w *Watch) String() string { return "watch " + w.keys.String() }

// Request returns the request that made the watch. It must not be modified.
func (w *Watch) Request() *pb.WatchCreateRequest { return w.req }

// Pending returns how many more responses there are to deliver if each holds
// one revision. It is 0 while the client is disconnected, or has yet to take the
// last two responses.
func (w *Watch) Pending() int {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	if !w.ready() {
		return 0
	}
	if w.compacted() {
		return 1
	}
	n, rev := len(w.progress), int64(0)
	for i := w.pos; i < len(w.server.store.log); i++ {
		if c := &w.server.store.log[i]; c.rev() != rev && w.wants(c) {
			rev = c.rev()
			n++
		}
	}
	return n
}

// News is what a watch would deliver next.
type News struct {
	change    *change
	progress  int64
	compacted bool
}

// News returns what Deliver(1) would deliver.
func (w *Watch) News() News {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	switch e := w.peek(); {
	case !w.ready():
		return News{}
	case w.compacted():
		return News{compacted: true}
	case w.progressDue(e):
		return News{progress: w.progress[0]}
	default:
		return News{change: e}
	}
}

// None reports whether there is nothing to deliver.
func (n News) None() bool { return n == News{} }

// Event returns the first change that would be delivered, nil for other news.
// It must not be modified.
func (n News) Event() *clientv3.Event {
	if n.change == nil {
		return nil
	}
	return n.change.event
}

// String says it in a few words, "" for nothing.
func (n News) String() string {
	switch {
	case n.compacted:
		return "compacted"
	case n.progress != 0:
		return fmt.Sprintf("progress @%d", n.progress)
	case n.change != nil:
		return n.change.String()
	}
	return ""
}

// Peek says in a few words what Deliver(1) would deliver, "" for nothing.
func (w *Watch) Peek() string { return w.News().String() }

// Deliver hands the events of up to n pending revisions to the client in one
// response, or a progress notification, or the news that what the watch needs
// was compacted, which ends it. It reports whether there was anything.
//
// One revision in each response is what a watch gets that keeps up, several
// are what one gets that had fallen behind.
func (w *Watch) Deliver(n int) bool {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	return w.ready() && w.handNext(n)
}

// Progress tells the client, if it asked for that with WithProgressNotify and
// nothing is pending, up to which revision it has seen everything, as etcd does
// now and then. It reports whether it did.
func (w *Watch) Progress() bool {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	if !w.req.ProgressNotify || !w.ready() || w.behind || w.peek() != nil || len(w.progress) > 0 || !w.begun() {
		return false
	}
	w.progress = append(w.progress, w.server.store.rev)
	return w.handNext(1)
}

// Break breaks the stream of the watch, of which the client notices nothing:
// the watch goes on after what it delivered last, and has to catch up.
func (w *Watch) Break() {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	w.resume()
	w.signal()
}

// Cancel ends the watch with a last response that carries an error.
func (w *Watch) Cancel(reason string) {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	w.hand(clientv3.WatchResponse{
		Header: w.server.headerAt(0), Canceled: true, CancelReason: reason,
	}, true)
}

// Close closes the channel of the watch without an error, what was delivered but
// not taken is lost.
func (w *Watch) Close() {
	w.server.mu.Lock()
	defer w.server.mu.Unlock()
	w.end()
}
