package simetcd

import (
	"bytes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// etcd's default limits.
const (
	// maxTxnOps bounds the compares and the operations of a transaction; what
	// nested ones use up is taken from it.
	maxTxnOps = 128
	// maxRequestBytes bounds a write as it goes through the raft log.
	maxRequestBytes = 3 << 19
	// maxCallBytes is the largest message that clientv3 sends.
	maxCallBytes = 2 << 20
	// raftOverhead is what the raft log adds to a request, within a byte or two.
	raftOverhead = 18
	// opOverhead is more than the encoding of an operation or a compare adds to
	// its keys and values.
	opOverhead = 96
)

func checkRange(r *pb.RangeRequest) error {
	if len(r.Key) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	_, order := pb.RangeRequest_SortOrder_name[int32(r.SortOrder)]
	_, target := pb.RangeRequest_SortTarget_name[int32(r.SortTarget)]
	if !order || !target {
		return rpctypes.ErrGRPCInvalidSortOption
	}
	return nil
}

func checkPut(r *pb.PutRequest) error {
	switch {
	case len(r.Key) == 0:
		return rpctypes.ErrGRPCEmptyKey
	case r.IgnoreValue && len(r.Value) != 0:
		return rpctypes.ErrGRPCValueProvided
	case r.IgnoreLease && r.Lease != 0:
		return rpctypes.ErrGRPCLeaseProvided
	}
	return nil
}

func checkDelete(r *pb.DeleteRangeRequest) error {
	if len(r.Key) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	return nil
}

// checkTxn checks a transaction and those nested in it. These may use what the
// outer one left of maxOps: its compares, or its longer branch, count.
func checkTxn(r *pb.TxnRequest, maxOps int) error {
	used := max(len(r.Compare), len(r.Success), len(r.Failure))
	if used > maxOps {
		return rpctypes.ErrGRPCTooManyOps
	}
	for _, c := range r.Compare {
		if len(c.Key) == 0 {
			return rpctypes.ErrGRPCEmptyKey
		}
	}
	for _, ops := range [...][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			if err := checkOp(op, maxOps-used); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkOp(op *pb.RequestOp, maxOps int) error {
	switch o := op.Request.(type) {
	case *pb.RequestOp_RequestRange:
		return checkRange(o.RequestRange)
	case *pb.RequestOp_RequestPut:
		return checkPut(o.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		return checkDelete(o.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		return checkTxn(o.RequestTxn, maxOps)
	}
	return rpctypes.ErrGRPCKeyNotFound
}

// checkKeyOverlap refuses a transaction that could write a key twice.
func checkKeyOverlap(r *pb.TxnRequest) error {
	var success, failure writeSet
	if err := success.addAll(r.Success); err != nil {
		return err
	}
	return failure.addAll(r.Failure)
}

// writeSet is what the operations of one branch may write.
type writeSet struct {
	puts  [][]byte
	index map[string]struct{} // the same, made once linear search is slow
	dels  []keyRange
}

// addAll adds operations in the order of etcd's check, which decides what passes:
// the deletes at this level, then each nested transaction with its deletes, then
// the puts at this level. A put that is followed by a nested delete of its key
// passes, the reverse does not. Of the two branches of a nested transaction only
// one runs, so both may write a key.
func (w *writeSet) addAll(ops []*pb.RequestOp) error {
	for _, op := range ops {
		if d := op.GetRequestDeleteRange(); d != nil {
			w.dels = append(w.dels, keyRange{d.Key, d.RangeEnd})
		}
	}
	for _, op := range ops {
		if t := op.GetRequestTxn(); t != nil {
			if err := w.addTxn(t); err != nil {
				return err
			}
		}
	}
	for _, op := range ops {
		if p := op.GetRequestPut(); p != nil {
			if w.has(p.Key) || w.deletes(p.Key) {
				return rpctypes.ErrGRPCDuplicateKey
			}
			w.add(p.Key)
		}
	}
	return nil
}

func (w *writeSet) addTxn(t *pb.TxnRequest) error {
	var success, failure writeSet
	if err := success.addAll(t.Success); err != nil {
		return err
	}
	if err := failure.addAll(t.Failure); err != nil {
		return err
	}
	for _, b := range [...]*writeSet{&success, &failure} {
		for _, k := range b.puts {
			if w.has(k) || w.deletes(k) {
				return rpctypes.ErrGRPCDuplicateKey
			}
		}
	}
	for _, k := range success.puts {
		w.add(k)
	}
	for _, k := range failure.puts {
		if !success.has(k) {
			w.add(k)
		}
	}
	w.dels = append(append(w.dels, success.dels...), failure.dels...)
	return nil
}

const linearPuts = 8

func (w *writeSet) add(key []byte) {
	w.puts = append(w.puts, key)
	switch {
	case w.index != nil:
		w.index[string(key)] = struct{}{}
	case len(w.puts) > linearPuts:
		w.index = make(map[string]struct{}, 4*linearPuts)
		for _, k := range w.puts {
			w.index[string(k)] = struct{}{}
		}
	}
}

func (w *writeSet) has(key []byte) bool {
	if w.index != nil {
		_, ok := w.index[string(key)]
		return ok
	}
	for _, k := range w.puts {
		if bytes.Equal(k, key) {
			return true
		}
	}
	return false
}

// deletes tells whether a range that is deleted holds key. etcd's check misses
// those without an end, and so does this one.
func (w *writeSet) deletes(key []byte) bool {
	for _, r := range w.dels {
		if !r.open() && r.contains(key) {
			return true
		}
	}
	return false
}

// checkSize refuses a write that etcd would. It measures only what could be too
// large: rough is never less than the size.
func checkSize(r proto.Message, rough int) error {
	if rough+raftOverhead <= maxRequestBytes {
		return nil
	}
	switch size := proto.Size(r); {
	case size > maxCallBytes:
		return status.Errorf(codes.ResourceExhausted, "trying to send message larger than max (%d vs. %d)", size, maxCallBytes)
	case size+raftOverhead > maxRequestBytes:
		return rpctypes.ErrGRPCRequestTooLarge
	}
	return nil
}

func putSize(r *pb.PutRequest) int { return opOverhead + len(r.Key) + len(r.Value) }

func deleteSize(r *pb.DeleteRangeRequest) int { return opOverhead + len(r.Key) + len(r.RangeEnd) }

func txnSize(r *pb.TxnRequest) int {
	size := opOverhead
	for _, c := range r.Compare {
		size += opOverhead + len(c.Key) + len(c.RangeEnd) + len(c.GetValue())
	}
	for _, ops := range [...][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			size += opOverhead
			switch o := op.Request.(type) {
			case *pb.RequestOp_RequestRange:
				size += opOverhead + len(o.RequestRange.Key) + len(o.RequestRange.RangeEnd)
			case *pb.RequestOp_RequestPut:
				size += putSize(o.RequestPut)
			case *pb.RequestOp_RequestDeleteRange:
				size += deleteSize(o.RequestDeleteRange)
			case *pb.RequestOp_RequestTxn:
				size += txnSize(o.RequestTxn)
			}
		}
	}
	return size
}

// readOnly tells what etcd answers without its raft log. It is not that clever
// with nested transactions.
func readOnly(r *pb.TxnRequest) bool {
	for _, ops := range [...][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range ops {
			if op.GetRequestRange() == nil {
				return false
			}
		}
	}
	return true
}
