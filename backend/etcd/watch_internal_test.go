package etcd

import (
	"context"
	"fmt"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// An etcd so busy, and so eagerly compacted, that no two pages can be read of
// one revision.
func TestListOutrunsCompaction(t *testing.T) {
	all := make([]*mvccpb.KeyValue, 100_000)
	for i := range all {
		all[i] = &mvccpb.KeyValue{Key: fmt.Appendf(nil, "/%06d", i), Value: []byte("v")}
	}
	calls := 0
	get := func(_ context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
		if calls++; calls > 20 {
			t.Fatal("no end")
		}
		o := clientv3.OpGet(key, opts...)
		if o.Rev() != 0 {
			return nil, rpctypes.ErrCompacted
		}
		n := min(int(o.Limit()), len(all))
		return &clientv3.GetResponse{Header: &pb.ResponseHeader{Revision: int64(calls)}, Kvs: all[:n], More: n < len(all)}, nil
	}
	kvs, rev, err := listPrefix(t.Context(), get, "/")
	if err != nil || len(kvs) != len(all) || rev != int64(calls) {
		t.Errorf("%d keys at revision %d after %d calls: %v", len(kvs), rev, calls, err)
	}
}
