package simetcd

import (
	"slices"
	"strings"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Server is a simulated etcd. It is a state machine behind one mutex that is
// never held while anything waits. All methods are safe for concurrent use.
type Server struct {
	manual bool
	minTTL int64 // seconds

	mu      sync.Mutex // guards the fields below and those of the watches
	store   store
	watches []*Watch           // sorted by Key; replaced, never changed
	watched int64              // watches that were ever made
	last    *pb.ResponseHeader // of the last answer
	clients map[*Client]struct{}
	closed  bool
}

// Option changes a Server.
type Option func(*Server)

// Manual leaves it to a scheduler to deliver watch responses and to expire
// leases. Without it, both happen by themselves.
func Manual() Option { return func(s *Server) { s.manual = true } }

// MinTTL sets the shortest lease that is granted, in seconds: shorter ones are
// raised to it. Default 2, as with etcd's default election timeout.
func MinTTL(seconds int64) Option { return func(s *Server) { s.minTTL = seconds } }

// NewServer returns an empty Server at etcd's first revision, 1.
func NewServer(opts ...Option) *Server {
	s := &Server{minTTL: 2, store: newStore(), clients: make(map[*Client]struct{})}
	for _, o := range opts {
		o(s)
	}
	return s
}

// Close closes all clients, stops all timers, and returns when no goroutine of
// the Server and its clients is left. It may be called more than once.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	open := make([]*Client, 0, len(s.clients))
	for c := range s.clients {
		open = append(open, c)
	}
	for _, l := range s.store.leases.sorted {
		if l.timer != nil {
			l.timer.Stop()
		}
	}
	s.mu.Unlock()
	for _, c := range open {
		_ = c.Close() // never fails
	}
}

// Revision returns the current revision.
func (s *Server) Revision() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.rev
}

// Compacted returns the revision of the last compaction, -1 before the first.
func (s *Server) Compacted() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.compacted
}

// Compact drops the history before rev, as if another client had asked for it.
func (s *Server) Compact(rev int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.compact(rev)
}

// Get returns what a key holds now, nil for nothing. It must not be modified.
func (s *Server) Get(key string) *mvccpb.KeyValue {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.get([]byte(key), s.store.rev)
}

// List returns the keys that begin with prefix as they are now, in key order.
// They must not be modified.
func (s *Server) List(prefix string) []*mvccpb.KeyValue {
	s.mu.Lock()
	defer s.mu.Unlock()
	var kvs []*mvccpb.KeyValue
	for _, h := range s.store.sorted[s.store.search([]byte(prefix)):] {
		if !strings.HasPrefix(h.key, prefix) {
			break
		}
		if kv := h.at(s.store.rev); kv != nil {
			kvs = append(kvs, kv)
		}
	}
	return kvs
}

// History returns the changes after a revision in the order in which they were
// made, with what each key held before. Compaction does not shorten it. The
// events must not be modified.
func (s *Server) History(after int64) []*clientv3.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.store.log[s.store.since(after+1):]
	events := make([]*clientv3.Event, len(log))
	for i := range log {
		events[i] = log[i].withPrev()
	}
	return events
}

// Watches returns the open watches of connected and disconnected clients,
// sorted by Key. The slice must not be modified.
func (s *Server) Watches() []*Watch {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watches
}

// AppendPending appends to list the watches that Watches returns and that have
// something to deliver. It does in one go what News tells for each of them.
func (s *Server) AppendPending(list []*Watch) []*Watch {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.watches {
		if w.pending() {
			list = append(list, w)
		}
	}
	return list
}

// commit ends a transaction and tells the watches, which wait for it unless a
// scheduler serves them.
func (s *Server) commit() {
	if s.store.commit() && !s.manual {
		for _, w := range s.watches {
			w.signal()
		}
	}
}

func (s *Server) addWatch(w *Watch) {
	i, _ := slices.BinarySearchFunc(s.watches, w, func(a, b *Watch) int { return strings.Compare(a.key, b.key) })
	s.watches = slices.Concat(s.watches[:i], []*Watch{w}, s.watches[i:])
}

func (s *Server) removeWatch(w *Watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.end()
	if i := slices.Index(s.watches, w); i >= 0 {
		s.watches = slices.Concat(s.watches[:i], s.watches[i+1:])
	}
}

func (s *Server) header() *pb.ResponseHeader { return s.headerAt(s.store.rev) }

// headerAt returns a header, which successive answers of one revision share.
func (s *Server) headerAt(rev int64) *pb.ResponseHeader {
	if s.last == nil || s.last.Revision != rev {
		s.last = &pb.ResponseHeader{ClusterId: 1, MemberId: 1, Revision: rev, RaftTerm: 2}
	}
	return s.last
}
