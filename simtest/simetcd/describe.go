package simetcd

import (
	"context"
	"fmt"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"
)

// maxParts bounds how many operations of a transaction String shows.
const maxParts = 6

// Key orders calls that wait at the same time, whatever order their goroutines
// came in: by node, kind and content. Calls with the same key do the same.
func (c *Call) Key() string {
	c.describe.Do(func() {
		// Deterministic marshalling fails for nothing that has a request.
		b, _ := proto.MarshalOptions{Deterministic: true}.Marshal(c.req)
		c.key = c.client.node + "\x00" + string(c.kind) + "\x00" + string(b)
	})
	return c.key
}

// String says in a line what the call does.
func (c *Call) String() string { return describe(c.req) }

// Outcome says in a few words what the server answered.
func (c *Call) Outcome() string {
	resp, err := c.Result()
	switch r := resp.(type) {
	case *pb.RangeResponse:
		return fmt.Sprintf("%d of %d @%d", len(r.Kvs), r.Count, r.Header.Revision)
	case *pb.DeleteRangeResponse:
		return fmt.Sprintf("deleted %d @%d", r.Deleted, r.Header.Revision)
	case *pb.TxnResponse:
		return fmt.Sprintf("%s @%d", describeBranches(r), r.Header.Revision)
	case *pb.LeaseGrantResponse:
		return fmt.Sprintf("lease %d, %ds", r.ID, r.TTL)
	case *pb.LeaseKeepAliveResponse:
		return fmt.Sprintf("%ds", r.TTL)
	case interface{ GetHeader() *pb.ResponseHeader }:
		return fmt.Sprintf("@%d", r.GetHeader().GetRevision())
	}
	switch {
	case err != nil:
		return clientv3.ContextError(context.Background(), err).Error()
	case !c.Applied():
		return "not applied"
	}
	return "ok"
}

// describeBranches tells which branch a transaction took, then those nested in
// it: "then(then, else)".
func describeBranches(r *pb.TxnResponse) string {
	text := "else"
	if r.Succeeded {
		text = "then"
	}
	var nested []*pb.TxnResponse
	for _, op := range r.Responses {
		if t := op.GetResponseTxn(); t != nil {
			nested = append(nested, t)
		}
	}
	if len(nested) == 0 {
		return text
	}
	return text + "(" + join(len(nested), func(i int) string { return describeBranches(nested[i]) }) + ")"
}

func describe(req proto.Message) string {
	switch r := req.(type) {
	case *pb.RangeRequest:
		return describeRange(r)
	case *pb.PutRequest:
		return describePut(r)
	case *pb.DeleteRangeRequest:
		return "delete " + keyRange{r.Key, r.RangeEnd}.String()
	case *pb.TxnRequest:
		return describeTxn(r)
	case *pb.CompactionRequest:
		return fmt.Sprintf("compact @%d", r.Revision)
	case *pb.LeaseGrantRequest:
		return fmt.Sprintf("grant %ds", r.TTL)
	case *pb.LeaseRevokeRequest:
		return fmt.Sprintf("revoke lease %d", r.ID)
	case *pb.LeaseKeepAliveRequest:
		return fmt.Sprintf("keep lease %d alive", r.ID)
	case *pb.LeaseTimeToLiveRequest:
		return fmt.Sprintf("time to live of lease %d", r.ID)
	case *pb.LeaseLeasesRequest:
		return "list leases"
	case *pb.WatchProgressRequest:
		return "request progress"
	case *pb.WatchCreateRequest:
		text := "watch " + keyRange{r.Key, r.RangeEnd}.String()
		if r.StartRevision != 0 {
			text += fmt.Sprintf(" from @%d", r.StartRevision)
		}
		return text
	}
	return string(req.ProtoReflect().Descriptor().Name())
}

func describeRange(r *pb.RangeRequest) string {
	text := "get " + keyRange{r.Key, r.RangeEnd}.String()
	if r.Revision != 0 {
		text += fmt.Sprintf(" @%d", r.Revision)
	}
	if r.Limit != 0 {
		text += fmt.Sprintf(" limit %d", r.Limit)
	}
	return text
}

func describePut(r *pb.PutRequest) string {
	text := "put " + string(r.Key)
	if r.Lease != 0 {
		text += fmt.Sprintf(" on lease %d", r.Lease)
	}
	return text
}

// describeTxn renders a transaction as txn[if ... then ...; else ...].
func describeTxn(r *pb.TxnRequest) string {
	var parts []string
	for _, p := range []struct{ word, text string }{
		{"if", join(len(r.Compare), func(i int) string { return describeCompare(r.Compare[i]) })},
		{"then", describeOps(r.Success)},
		{"else", describeOps(r.Failure)},
	} {
		if p.text != "" {
			parts = append(parts, p.word+" "+p.text)
		}
	}
	return "txn[" + strings.Join(parts, " ") + "]"
}

func describeOps(ops []*pb.RequestOp) string {
	return join(len(ops), func(i int) string {
		switch o := ops[i].Request.(type) {
		case *pb.RequestOp_RequestRange:
			return describe(o.RequestRange)
		case *pb.RequestOp_RequestPut:
			return describe(o.RequestPut)
		case *pb.RequestOp_RequestDeleteRange:
			return describe(o.RequestDeleteRange)
		case *pb.RequestOp_RequestTxn:
			return describe(o.RequestTxn)
		}
		return "nothing"
	})
}

func describeCompare(c *pb.Compare) string {
	relation := map[pb.Compare_CompareResult]string{
		pb.Compare_EQUAL: "=", pb.Compare_NOT_EQUAL: "!=", pb.Compare_GREATER: ">", pb.Compare_LESS: "<",
	}[c.Result]
	keys := keyRange{c.Key, c.RangeEnd}.String()
	switch c.Target {
	case pb.Compare_CREATE:
		return fmt.Sprintf("created(%s)%s%d", keys, relation, c.GetCreateRevision())
	case pb.Compare_MOD:
		return fmt.Sprintf("modified(%s)%s%d", keys, relation, c.GetModRevision())
	case pb.Compare_VERSION:
		return fmt.Sprintf("version(%s)%s%d", keys, relation, c.GetVersion())
	case pb.Compare_LEASE:
		return fmt.Sprintf("lease(%s)%s%d", keys, relation, c.GetLease())
	}
	return fmt.Sprintf("value(%s)%s%.32q", keys, relation, c.GetValue())
}

func join(n int, text func(int) string) string {
	var parts []string
	for i := range min(n, maxParts) {
		parts = append(parts, text(i))
	}
	if n > maxParts {
		parts = append(parts, fmt.Sprintf("... %d more", n-maxParts))
	}
	return strings.Join(parts, ", ")
}

// String renders a prefix as "/a/*", all keys from one on as "/a..".
func (r keyRange) String() string {
	switch {
	case r.point():
		return string(r.key)
	case r.open():
		return string(r.key) + ".."
	case clientv3.GetPrefixRangeEnd(string(r.key)) == string(r.end):
		return string(r.key) + "*"
	}
	return string(r.key) + ".." + string(r.end)
}

func (c *change) String() string {
	verb := "delete"
	if c.event.Type == clientv3.EventTypePut {
		verb = "put"
	}
	return fmt.Sprintf("%s %s @%d", verb, c.event.Kv.Key, c.rev())
}
