package simetcd

import (
	"slices"
	"sort"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// store is etcd's key space with its history. A transaction is begin, any
// number of put and remove, and commit; reads in between see its changes.
type store struct {
	rev       int64 // of the last transaction that changed something
	compacted int64 // what was superseded before this revision is gone
	keys      map[string]*keyHistory
	sorted    []*keyHistory // the same, by key
	log       []change      // all changes in the order in which they were made
	begun     int           // length of log when the transaction began
	leases    leaseTable
	header    *pb.ResponseHeader // of the last response within a transaction
}

// keyHistory has the versions of a key, oldest first, back to the last
// compaction.
type keyHistory struct {
	key      string
	versions []version
}

type version struct {
	rev int64
	kv  *mvccpb.KeyValue // nil: the key was deleted
}

// change is one entry of the log, from which watches are served.
type change struct {
	event *clientv3.Event
	// prev is what the key held before the transaction, nil for nothing.
	prev *mvccpb.KeyValue
	// full is the event with prev, made when the first watch asks for it.
	full *clientv3.Event
}

func newStore() store {
	return store{
		rev:       1, // etcd's first revision, before any write
		compacted: -1,
		keys:      make(map[string]*keyHistory),
	}
}

func (s *store) begin() { s.begun = len(s.log) }

// commit ends the transaction and reports whether it changed anything.
func (s *store) commit() bool {
	if !s.changed() {
		return false
	}
	s.rev++
	return true
}

func (s *store) changed() bool { return len(s.log) > s.begun }

// readRev is the revision that a read within the transaction sees.
func (s *store) readRev() int64 {
	if s.changed() {
		return s.rev + 1
	}
	return s.rev
}

// opHeader is the header of a response within a transaction: just the revision.
// Those of one revision share it.
func (s *store) opHeader() *pb.ResponseHeader {
	if rev := s.readRev(); s.header.GetRevision() != rev {
		s.header = &pb.ResponseHeader{Revision: rev}
	}
	return s.header
}

// get returns a key as of rev, nil where it did not exist.
func (s *store) get(key []byte, rev int64) *mvccpb.KeyValue {
	h := s.keys[string(key)]
	if h == nil {
		return nil
	}
	return h.at(rev)
}

// visit calls f for each key of a range that existed at rev, in key order.
func (s *store) visit(r keyRange, rev int64, f func(*mvccpb.KeyValue)) {
	if r.point() {
		if kv := s.get(r.key, rev); kv != nil {
			f(kv)
		}
		return
	}
	for _, h := range s.sorted[s.search(r.key):] {
		if !r.before(h.key) {
			return
		}
		if kv := h.at(rev); kv != nil {
			f(kv)
		}
	}
}

func (s *store) put(key, value []byte, id clientv3.LeaseID) {
	if len(value) == 0 {
		value = nil // what a client decodes from the wire
	}
	h := s.keys[string(key)]
	if h == nil {
		h = s.insert(key)
	}
	rev := s.rev + 1
	kv := &mvccpb.KeyValue{
		Key: key, Value: value, CreateRevision: rev, ModRevision: rev, Version: 1, Lease: int64(id),
	}
	if old := h.at(rev); old != nil {
		kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
		s.leases.detach(clientv3.LeaseID(old.Lease), h.key)
	}
	s.leases.attach(id, h.key)
	s.append(h, version{rev: rev, kv: kv}, &clientv3.Event{Type: clientv3.EventTypePut, Kv: kv})
}

// remove deletes a key that exists.
func (s *store) remove(h *keyHistory) {
	rev := s.rev + 1
	old := h.at(rev)
	s.leases.detach(clientv3.LeaseID(old.Lease), h.key)
	gone := &mvccpb.KeyValue{Key: old.Key, ModRevision: rev}
	s.append(h, version{rev: rev}, &clientv3.Event{Type: clientv3.EventTypeDelete, Kv: gone})
}

func (s *store) append(h *keyHistory, v version, e *clientv3.Event) {
	s.log = append(s.log, change{event: e, prev: h.at(v.rev - 1)})
	h.versions = append(h.versions, v)
}

// compact drops the versions that were superseded by rev. The log stays: what a
// watch may see of it is the watch's business.
func (s *store) compact(rev int64) error {
	switch {
	case rev <= s.compacted:
		return rpctypes.ErrGRPCCompacted
	case rev > s.rev:
		return rpctypes.ErrGRPCFutureRev
	}
	s.compacted = rev
	s.sorted = slices.DeleteFunc(s.sorted, func(h *keyHistory) bool {
		h.compact(rev)
		if len(h.versions) > 0 {
			return false
		}
		delete(s.keys, h.key)
		return true
	})
	return nil
}

// since returns the index in the log of the first change at or after rev.
func (s *store) since(rev int64) int {
	return sort.Search(len(s.log), func(i int) bool { return s.log[i].rev() >= rev })
}

func (s *store) insert(key []byte) *keyHistory {
	h := &keyHistory{key: string(key)}
	s.keys[h.key] = h
	s.sorted = slices.Insert(s.sorted, s.search(key), h)
	return h
}

// search returns the index in sorted of the first key not before key.
func (s *store) search(key []byte) int {
	return sort.Search(len(s.sorted), func(i int) bool { return s.sorted[i].key >= string(key) })
}

// at returns the key as of rev. It looks from the newest version back, since
// nearly all reads are of that one.
func (h *keyHistory) at(rev int64) *mvccpb.KeyValue {
	for i := len(h.versions) - 1; i >= 0; i-- {
		if h.versions[i].rev <= rev {
			return h.versions[i].kv
		}
	}
	return nil
}

// compact keeps the version that is current at rev and those after it. Where the
// key was deleted there is no such version.
func (h *keyHistory) compact(rev int64) {
	keep := 0
	for keep < len(h.versions)-1 && h.versions[keep+1].rev <= rev {
		keep++
	}
	if v := h.versions[keep]; v.kv == nil && v.rev <= rev {
		keep++
	}
	h.versions = h.versions[keep:]
}

func (c *change) rev() int64 { return c.event.Kv.ModRevision }

// withPrev returns the event with what the key held before, as etcd adds it: a
// key that was just created has none.
func (c *change) withPrev() *clientv3.Event {
	if c.prev == nil || c.event.IsCreate() {
		return c.event
	}
	if c.full == nil {
		c.full = &clientv3.Event{Type: c.event.Type, Kv: c.event.Kv, PrevKv: c.prev}
	}
	return c.full
}

// keyRange is one key, or the keys from key up to end, or all from key on. It is
// the form that ranges have in requests.
type keyRange struct {
	key, end []byte
}

func (r keyRange) point() bool { return len(r.end) == 0 }

// open tells that the range has no end.
func (r keyRange) open() bool { return len(r.end) == 1 && r.end[0] == 0 }

// before tells that a key lies before the end of a range that is no point.
func (r keyRange) before(key string) bool { return r.open() || key < string(r.end) }

func (r keyRange) contains(key []byte) bool {
	if r.point() {
		return string(key) == string(r.key)
	}
	return string(key) >= string(r.key) && (r.open() || string(key) < string(r.end))
}
