package simetcd

import (
	"cmp"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// maxLeaseTTL is etcd's limit, in seconds.
const maxLeaseTTL = 9_000_000_000

// Lease is what a Server knows of a lease.
type Lease struct {
	ID clientv3.LeaseID
	// TTL is the granted one, which each renewal grants anew.
	TTL time.Duration
	// Deadline is when the lease expires unless it is renewed.
	Deadline time.Time
	// Keys are attached to the lease, sorted.
	Keys []string
}

// Leases returns the leases, sorted by ID.
func (s *Server) Leases() []Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	leases := make([]Lease, len(s.store.leases.sorted))
	for i, l := range s.store.leases.sorted {
		leases[i] = l.snapshot()
	}
	return leases
}

// Lease returns a lease, and whether there is one of this ID.
func (s *Server) Lease(id clientv3.LeaseID) (Lease, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.store.leases.get(id)
	if l == nil {
		return Lease{}, false
	}
	return l.snapshot(), true
}

// Deadline returns when a lease expires unless it is renewed, and whether there
// is one of this ID.
func (s *Server) Deadline(id clientv3.LeaseID) (time.Time, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.store.leases.get(id)
	if l == nil {
		return time.Time{}, false
	}
	return l.deadline, true
}

// Overdue returns the IDs of the leases whose deadline has passed, sorted. In
// Manual mode they live on until Expire or until their owner tries to renew
// them; etcd too may be late to revoke them, and is never early.
func (s *Server) Overdue() []clientv3.LeaseID {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var ids []clientv3.LeaseID
	for _, l := range s.store.leases.sorted {
		if l.expired(now) {
			ids = append(ids, l.id)
		}
	}
	return ids
}

// Expire revokes a lease now, whatever its deadline, and deletes its keys in one
// revision. It reports whether there was one of this ID.
func (s *Server) Expire(id clientv3.LeaseID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.store.leases.get(id)
	if l == nil {
		return false
	}
	s.revoke(l)
	return true
}

// leaseTable has the leases and the keys that are attached to them.
type leaseTable struct {
	sorted []*lease         // by ID
	last   clientv3.LeaseID // the last ID that was given away
}

type lease struct {
	id       clientv3.LeaseID
	ttl      int64 // seconds
	deadline time.Time
	keys     []string    // sorted
	timer    *time.Timer // revokes it, nil in Manual mode
}

// get returns a lease, nil if it is not there.
func (t *leaseTable) get(id clientv3.LeaseID) *lease {
	if i, ok := t.search(id); ok {
		return t.sorted[i]
	}
	return nil
}

func (t *leaseTable) search(id clientv3.LeaseID) (int, bool) {
	return slices.BinarySearchFunc(t.sorted, id, func(l *lease, id clientv3.LeaseID) int { return cmp.Compare(l.id, id) })
}

// add adds a lease under the next ID.
func (t *leaseTable) add(l *lease) {
	t.last++
	l.id = t.last
	t.sorted = append(t.sorted, l)
}

func (t *leaseTable) remove(id clientv3.LeaseID) {
	if i, ok := t.search(id); ok {
		t.sorted = slices.Delete(t.sorted, i, i+1)
	}
}

// attach ties a key to a lease. ID 0 stands for no lease.
func (t *leaseTable) attach(id clientv3.LeaseID, key string) {
	l := t.get(id)
	if l == nil {
		return
	}
	if i, ok := slices.BinarySearch(l.keys, key); !ok {
		l.keys = slices.Insert(l.keys, i, key)
	}
}

func (t *leaseTable) detach(id clientv3.LeaseID, key string) {
	l := t.get(id)
	if l == nil {
		return
	}
	if i, ok := slices.BinarySearch(l.keys, key); ok {
		l.keys = slices.Delete(l.keys, i, i+1)
	}
}

func (l *lease) renew(now time.Time) { l.deadline = now.Add(time.Duration(l.ttl) * time.Second) }

func (l *lease) expired(now time.Time) bool { return !now.Before(l.deadline) }

func (l *lease) snapshot() Lease {
	return Lease{ID: l.id, TTL: time.Duration(l.ttl) * time.Second, Deadline: l.deadline, Keys: slices.Clone(l.keys)}
}

// The methods below carry requests out; Server.mu is held.

func (s *Server) grant(r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if r.TTL > maxLeaseTTL {
		return nil, rpctypes.ErrGRPCLeaseTTLTooLarge
	}
	l := &lease{ttl: max(r.TTL, s.minTTL)}
	l.renew(time.Now())
	s.store.leases.add(l)
	if !s.manual {
		l.timer = time.AfterFunc(time.Until(l.deadline), func() { s.expireInTime(l) })
	}
	return &pb.LeaseGrantResponse{Header: s.header(), ID: int64(l.id), TTL: l.ttl}, nil
}

func (s *Server) leaseRevoke(r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	l := s.store.leases.get(clientv3.LeaseID(r.ID))
	if l == nil {
		return nil, rpctypes.ErrGRPCLeaseNotFound
	}
	s.revoke(l)
	return &pb.LeaseRevokeResponse{Header: s.header()}, nil
}

// keepAlive answers TTL 0 for a lease that is not there. One that is overdue is
// revoked first: etcd makes its owner wait until that happened.
func (s *Server) keepAlive(r *pb.LeaseKeepAliveRequest) (*pb.LeaseKeepAliveResponse, error) {
	resp := &pb.LeaseKeepAliveResponse{Header: s.header(), ID: r.ID}
	l := s.store.leases.get(clientv3.LeaseID(r.ID))
	now := time.Now()
	switch {
	case l == nil:
	case l.expired(now):
		s.revoke(l)
	default:
		l.renew(now)
		if l.timer != nil {
			l.timer.Reset(l.deadline.Sub(now))
		}
		resp.TTL = l.ttl
	}
	return resp, nil
}

func (s *Server) timeToLive(r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	resp := &pb.LeaseTimeToLiveResponse{Header: s.header(), ID: r.ID, TTL: -1}
	l := s.store.leases.get(clientv3.LeaseID(r.ID))
	if l == nil {
		return resp, nil
	}
	resp.TTL, resp.GrantedTTL = int64(time.Until(l.deadline).Seconds()), l.ttl
	if r.Keys {
		for _, key := range l.keys {
			resp.Keys = append(resp.Keys, []byte(key))
		}
	}
	return resp, nil
}

func (s *Server) leaseLeases(*pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	byExpiry := slices.Clone(s.store.leases.sorted)
	slices.SortStableFunc(byExpiry, func(a, b *lease) int { return a.deadline.Compare(b.deadline) })
	resp := &pb.LeaseLeasesResponse{Header: s.header()}
	for _, l := range byExpiry {
		resp.Leases = append(resp.Leases, &pb.LeaseStatus{ID: int64(l.id)})
	}
	return resp, nil
}

// revoke deletes a lease and its keys, in the order of the keys.
func (s *Server) revoke(l *lease) {
	if l.timer != nil {
		l.timer.Stop()
	}
	s.store.leases.remove(l.id)
	s.store.begin()
	for _, key := range l.keys { // no longer changes, since the lease is gone
		s.store.remove(s.store.keys[key])
	}
	s.commit()
}

// expireInTime is what the timer of a lease calls. A renewal may have come
// between the timer and the lock.
func (s *Server) expireInTime(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.store.leases.get(l.id) == l && l.expired(time.Now()) {
		s.revoke(l)
	}
}
