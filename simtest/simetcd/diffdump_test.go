package simetcd_test

import (
	"context"
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// opOf runs an operation that is made for each side, through KV.Do.
func opOf(text string, make func(*side) clientv3.Op) operation {
	return operation{text, func(ctx context.Context, s *side) string {
		resp, err := s.Do(ctx, make(s))
		if err != nil {
			return dumpError(err)
		}
		switch {
		case resp.Get() != nil:
			return s.dumpRange((*pb.RangeResponse)(resp.Get()))
		case resp.Put() != nil:
			return s.dumpPut((*pb.PutResponse)(resp.Put()))
		case resp.Del() != nil:
			return s.dumpDelete((*pb.DeleteRangeResponse)(resp.Del()))
		}
		return s.dumpTxn((*pb.TxnResponse)(resp.Txn()))
	}}
}

func (s *side) dumpHeader(h *pb.ResponseHeader) string {
	// The members and the term are etcd's own; that they are there is not.
	return fmt.Sprintf("@%d from %v", s.relative(h.GetRevision()), h.GetMemberId() != 0 && h.GetClusterId() != 0 && h.GetRaftTerm() != 0)
}

func (s *side) relative(rev int64) int64 {
	if rev <= 0 {
		return rev
	}
	return rev - s.offset
}

func (s *side) dumpLease(id int64) string {
	if id == 0 {
		return ""
	}
	return fmt.Sprintf(" L%d", s.leaseIndex(clientv3.LeaseID(id)))
}

func (s *side) dumpKV(kv *mvccpb.KeyValue) string {
	if kv == nil {
		return "none"
	}
	return fmt.Sprintf("%q=%.20q/%d nil:%v c%d m%d v%d%s", kv.Key, kv.Value, len(kv.Value), kv.Value == nil,
		s.relative(kv.CreateRevision), s.relative(kv.ModRevision), kv.Version, s.dumpLease(kv.Lease))
}

func (s *side) dumpKVs(kvs []*mvccpb.KeyValue) string {
	texts := make([]string, len(kvs))
	for i, kv := range kvs {
		texts[i] = s.dumpKV(kv)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

func (s *side) dumpRange(r *pb.RangeResponse) string {
	return fmt.Sprintf("get %s %s count %d more %v", s.dumpHeader(r.Header), s.dumpKVs(r.Kvs), r.Count, r.More)
}

func (s *side) dumpPut(r *pb.PutResponse) string {
	return fmt.Sprintf("put %s prev %s", s.dumpHeader(r.Header), s.dumpKV(r.PrevKv))
}

func (s *side) dumpDelete(r *pb.DeleteRangeResponse) string {
	return fmt.Sprintf("deleted %s %d prev %s", s.dumpHeader(r.Header), r.Deleted, s.dumpKVs(r.PrevKvs))
}

func (s *side) dumpTxn(r *pb.TxnResponse) string {
	var b strings.Builder
	fmt.Fprintf(&b, "txn %s succeeded %v [", s.dumpHeader(r.Header), r.Succeeded)
	for i, op := range r.Responses {
		if i > 0 {
			b.WriteString("; ")
		}
		switch o := op.Response.(type) {
		case *pb.ResponseOp_ResponseRange:
			b.WriteString(s.dumpRange(o.ResponseRange))
		case *pb.ResponseOp_ResponsePut:
			b.WriteString(s.dumpPut(o.ResponsePut))
		case *pb.ResponseOp_ResponseDeleteRange:
			b.WriteString(s.dumpDelete(o.ResponseDeleteRange))
		case *pb.ResponseOp_ResponseTxn:
			b.WriteString(s.dumpTxn(o.ResponseTxn))
		}
	}
	b.WriteString("]")
	return b.String()
}

func (s *side) dumpEvent(e *clientv3.Event) string {
	return fmt.Sprintf("%v %s prev %s", e.Type, s.dumpKV(e.Kv), s.dumpKV(e.PrevKv))
}
