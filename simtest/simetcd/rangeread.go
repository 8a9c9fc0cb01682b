package simetcd

import (
	"bytes"
	"cmp"
	"math"
	"slices"
	"sort"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// readRange answers a range request whose revision was admitted. Within a
// transaction it sees what the transaction changed.
func (s *store) readRange(r *pb.RangeRequest) *pb.RangeResponse {
	cur, rev := s.readRev(), r.Revision
	if rev <= 0 {
		rev = cur
	}
	resp := &pb.RangeResponse{Header: s.opHeader()}
	kvs, count := s.collect(r, rev)
	resp.Count = count
	if kvs = sortKVs(r, filterKVs(r, kvs)); r.Limit > 0 && int64(len(kvs)) > r.Limit {
		kvs, resp.More = kvs[:r.Limit], true
	}
	if r.KeysOnly {
		kvs = withoutValues(r, kvs)
	}
	resp.Kvs = kvs
	return resp
}

// collect returns the keys of a range, and how many there are without the limit.
// It reads one key more than the limit, which shows that there are more, and
// all keys where a limit has to wait for filters and order.
func (s *store) collect(r *pb.RangeRequest, rev int64) (kvs []*mvccpb.KeyValue, count int64) {
	limit := int64(math.MaxInt64)
	if r.Limit > 0 && r.Limit < limit && inKeyOrder(r) && !filtered(r) {
		limit = r.Limit + 1
	}
	if r.CountOnly {
		limit = 0
	}
	s.visit(keyRange{r.Key, r.RangeEnd}, rev, func(kv *mvccpb.KeyValue) {
		if count < limit {
			kvs = append(kvs, kv)
		}
		count++
	})
	return kvs, count
}

func inKeyOrder(r *pb.RangeRequest) bool {
	return r.SortOrder == pb.RangeRequest_NONE ||
		r.SortTarget == pb.RangeRequest_KEY && r.SortOrder == pb.RangeRequest_ASCEND
}

func filtered(r *pb.RangeRequest) bool {
	return r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
}

func filterKVs(r *pb.RangeRequest, kvs []*mvccpb.KeyValue) []*mvccpb.KeyValue {
	if !filtered(r) {
		return kvs
	}
	outside := func(rev, low, high int64) bool { return low != 0 && rev < low || high != 0 && rev > high }
	return slices.DeleteFunc(kvs, func(kv *mvccpb.KeyValue) bool {
		return outside(kv.ModRevision, r.MinModRevision, r.MaxModRevision) ||
			outside(kv.CreateRevision, r.MinCreateRevision, r.MaxCreateRevision)
	})
}

// sortKVs sorts as etcd does: a target without an order means ascending. The
// sort is not stable there, and the same function gives the same order of keys
// that compare equal.
func sortKVs(r *pb.RangeRequest, kvs []*mvccpb.KeyValue) []*mvccpb.KeyValue {
	if inKeyOrder(r) && r.SortTarget == pb.RangeRequest_KEY {
		return kvs
	}
	var by sort.Interface = kvOrder{kvs, r.SortTarget}
	if r.SortOrder == pb.RangeRequest_DESCEND {
		by = sort.Reverse(by)
	}
	sort.Sort(by)
	return kvs
}

type kvOrder struct {
	kvs    []*mvccpb.KeyValue
	target pb.RangeRequest_SortTarget
}

func (o kvOrder) Len() int      { return len(o.kvs) }
func (o kvOrder) Swap(i, j int) { o.kvs[i], o.kvs[j] = o.kvs[j], o.kvs[i] }
func (o kvOrder) Less(i, j int) bool {
	a, b := o.kvs[i], o.kvs[j]
	switch o.target {
	case pb.RangeRequest_VERSION:
		return a.Version < b.Version
	case pb.RangeRequest_CREATE:
		return a.CreateRevision < b.CreateRevision
	case pb.RangeRequest_MOD:
		return a.ModRevision < b.ModRevision
	case pb.RangeRequest_VALUE:
		return bytes.Compare(a.Value, b.Value) < 0
	}
	return cmp.Less(string(a.Key), string(b.Key))
}

// withoutValues answers WithKeysOnly. etcd reads the keys from an index that
// knows no leases, unless it needs the values to sort by them.
func withoutValues(r *pb.RangeRequest, kvs []*mvccpb.KeyValue) []*mvccpb.KeyValue {
	bare := make([]*mvccpb.KeyValue, len(kvs))
	for i, kv := range kvs {
		bare[i] = &mvccpb.KeyValue{
			Key: kv.Key, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Version: kv.Version,
		}
		if r.SortTarget == pb.RangeRequest_VALUE {
			bare[i].Lease = kv.Lease
		}
	}
	return bare
}
