package simetcd

import (
	"bytes"
	"cmp"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The methods of Server in this file carry requests out; Server.mu is held.

func (s *Server) serve(c *Call) (any, error) {
	switch r := c.req.(type) {
	case *pb.RangeRequest:
		return s.readRange(r)
	case *pb.PutRequest:
		return s.put(r)
	case *pb.DeleteRangeRequest:
		return s.deleteRange(r)
	case *pb.TxnRequest:
		return s.txn(r)
	case *pb.CompactionRequest:
		return s.compaction(r)
	case *pb.LeaseGrantRequest:
		return s.grant(r)
	case *pb.LeaseRevokeRequest:
		return s.leaseRevoke(r)
	case *pb.LeaseKeepAliveRequest:
		return s.keepAlive(r)
	case *pb.LeaseTimeToLiveRequest:
		return s.timeToLive(r)
	case *pb.LeaseLeasesRequest:
		return s.leaseLeases(r)
	case *pb.WatchCreateRequest:
		return s.newWatch(c.client, r, c.stream)
	case *pb.WatchProgressRequest:
		return s.requestProgress(c.client, c.stream)
	}
	return nil, status.Errorf(codes.Unimplemented, "unknown request %T", c.req)
}

func (s *Server) readRange(r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if err := checkRange(r); err != nil {
		return nil, err
	}
	if r.Revision > 0 { // no other asks for history
		if err := s.store.admitRange(r); err != nil {
			return nil, err
		}
	}
	s.store.begin()
	resp := s.store.readRange(r)
	resp.Header = s.header()
	return resp, nil
}

func (s *Server) put(r *pb.PutRequest) (*pb.PutResponse, error) {
	if err := checkPut(r); err != nil {
		return nil, err
	}
	if err := checkSize(r, putSize(r)); err != nil {
		return nil, err
	}
	s.store.begin()
	if err := s.store.admitPut(r); err != nil {
		return nil, err
	}
	resp := s.store.execPut(r)
	s.commit()
	resp.Header = s.header()
	return resp, nil
}

func (s *Server) deleteRange(r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	if err := checkDelete(r); err != nil {
		return nil, err
	}
	if err := checkSize(r, deleteSize(r)); err != nil {
		return nil, err
	}
	s.store.begin()
	resp := s.store.execDelete(r)
	s.commit()
	resp.Header = s.header()
	return resp, nil
}

// txn runs a transaction as etcd does: all compares, those of nested
// transactions too, see the state before it; so does the check that the chosen
// operations can be carried out; then these run in order, each seeing the
// changes of those before.
func (s *Server) txn(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := checkTxn(r, maxTxnOps); err != nil {
		return nil, err
	}
	if err := checkKeyOverlap(r); err != nil {
		return nil, err
	}
	if !readOnly(r) {
		if err := checkSize(r, txnSize(r)); err != nil {
			return nil, err
		}
	}
	s.store.begin()
	run := txnRun{store: &s.store, path: s.store.choose(r, nil)}
	if err := run.admit(r); err != nil {
		return nil, err
	}
	run.next = 0
	resp := run.exec(r)
	s.commit()
	resp.Header = s.header()
	return resp, nil
}

func (s *Server) compaction(r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	if err := s.store.compact(r.Revision); err != nil {
		return nil, err
	}
	return &pb.CompactionResponse{Header: s.header()}, nil
}

// choose appends to path which branch r takes, then those of the transactions
// in that branch, depth first.
func (s *store) choose(r *pb.TxnRequest, path []bool) []bool {
	ok := true
	for _, c := range r.Compare {
		if !s.holds(c) {
			ok = false
			break
		}
	}
	path = append(path, ok)
	for _, op := range branch(r, ok) {
		if t := op.GetRequestTxn(); t != nil {
			path = s.choose(t, path)
		}
	}
	return path
}

func branch(r *pb.TxnRequest, success bool) []*pb.RequestOp {
	if success {
		return r.Success
	}
	return r.Failure
}

// holds tells whether a compare holds for all keys of its range. Where there is
// none, it is made with an empty key, except that no value equals or differs
// from one that is missing.
func (s *store) holds(c *pb.Compare) bool {
	found, ok := false, true
	s.visit(keyRange{c.Key, c.RangeEnd}, s.rev, func(kv *mvccpb.KeyValue) {
		found = true
		ok = ok && compareKV(c, kv)
	})
	if !found {
		return c.Target != pb.Compare_VALUE && compareKV(c, &mvccpb.KeyValue{})
	}
	return ok
}

func compareKV(c *pb.Compare, kv *mvccpb.KeyValue) bool {
	var d int
	switch c.Target {
	case pb.Compare_VALUE:
		d = bytes.Compare(kv.Value, c.GetValue())
	case pb.Compare_CREATE:
		d = cmp.Compare(kv.CreateRevision, c.GetCreateRevision())
	case pb.Compare_MOD:
		d = cmp.Compare(kv.ModRevision, c.GetModRevision())
	case pb.Compare_VERSION:
		d = cmp.Compare(kv.Version, c.GetVersion())
	case pb.Compare_LEASE:
		d = cmp.Compare(kv.Lease, c.GetLease())
	}
	switch c.Result {
	case pb.Compare_EQUAL:
		return d == 0
	case pb.Compare_NOT_EQUAL:
		return d != 0
	case pb.Compare_GREATER:
		return d > 0
	case pb.Compare_LESS:
		return d < 0
	}
	return true
}

// txnRun walks through a transaction along the path that was chosen.
type txnRun struct {
	store *store
	path  []bool
	next  int // index in path of the next transaction
}

func (t *txnRun) enter(r *pb.TxnRequest) (ops []*pb.RequestOp, success bool) {
	success = t.path[t.next]
	t.next++
	return branch(r, success), success
}

// admit tells whether all operations can be carried out.
func (t *txnRun) admit(r *pb.TxnRequest) error {
	ops, _ := t.enter(r)
	for _, op := range ops {
		var err error
		switch o := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			err = t.store.admitRange(o.RequestRange)
		case *pb.RequestOp_RequestPut:
			err = t.store.admitPut(o.RequestPut)
		case *pb.RequestOp_RequestTxn:
			err = t.admit(o.RequestTxn)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// exec carries the operations out.
func (t *txnRun) exec(r *pb.TxnRequest) *pb.TxnResponse {
	ops, success := t.enter(r)
	resp := &pb.TxnResponse{Succeeded: success}
	if len(ops) > 0 {
		resp.Responses = make([]*pb.ResponseOp, len(ops))
	}
	outs := make([]pb.ResponseOp, len(ops))
	for i, op := range ops {
		out := &outs[i]
		switch o := op.Request.(type) {
		case *pb.RequestOp_RequestRange:
			out.Response = &pb.ResponseOp_ResponseRange{ResponseRange: t.store.readRange(o.RequestRange)}
		case *pb.RequestOp_RequestPut:
			out.Response = &pb.ResponseOp_ResponsePut{ResponsePut: t.store.execPut(o.RequestPut)}
		case *pb.RequestOp_RequestDeleteRange:
			out.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: t.store.execDelete(o.RequestDeleteRange)}
		case *pb.RequestOp_RequestTxn:
			nested := t.exec(o.RequestTxn)
			nested.Header = &pb.ResponseHeader{} // as in etcd, an empty one
			out.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: nested}
		}
		resp.Responses[i] = out
	}
	return resp
}

// admitRange refuses a negative revision when there was a compaction. Outside a
// transaction it means the current one.
func (s *store) admitRange(r *pb.RangeRequest) error {
	switch {
	case r.Revision == 0:
		return nil
	case r.Revision > s.rev:
		return rpctypes.ErrGRPCFutureRev
	case r.Revision < s.compacted:
		return rpctypes.ErrGRPCCompacted
	}
	return nil
}

func (s *store) admitPut(r *pb.PutRequest) error {
	if id := clientv3.LeaseID(r.Lease); id != clientv3.NoLease && s.leases.get(id) == nil {
		return rpctypes.ErrGRPCLeaseNotFound
	}
	if (r.IgnoreValue || r.IgnoreLease) && s.get(r.Key, s.rev) == nil {
		return rpctypes.ErrGRPCKeyNotFound
	}
	return nil
}

// execPut and execDelete fill in only the revision of the header: a response
// within a transaction has no more.
func (s *store) execPut(r *pb.PutRequest) *pb.PutResponse {
	prev := s.get(r.Key, s.readRev())
	value, lease := r.Value, clientv3.LeaseID(r.Lease)
	if r.IgnoreValue {
		value = prev.GetValue()
	}
	if r.IgnoreLease {
		lease = clientv3.LeaseID(prev.GetLease())
	}
	s.put(r.Key, value, lease)
	resp := &pb.PutResponse{Header: s.opHeader()}
	if r.PrevKv {
		resp.PrevKv = prev
	}
	return resp
}

func (s *store) execDelete(r *pb.DeleteRangeRequest) *pb.DeleteRangeResponse {
	var gone []*mvccpb.KeyValue
	s.visit(keyRange{r.Key, r.RangeEnd}, s.readRev(), func(kv *mvccpb.KeyValue) { gone = append(gone, kv) })
	for _, kv := range gone {
		s.remove(s.keys[string(kv.Key)])
	}
	resp := &pb.DeleteRangeResponse{Header: s.opHeader(), Deleted: int64(len(gone))}
	if r.PrevKv {
		resp.PrevKvs = gone
	}
	return resp
}
