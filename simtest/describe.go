package simtest

import (
	"fmt"
	"net/url"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/metafora-go/metafora/simtest/simetcd"
)

// namespace is that of all simulations, clientName is who calls that is no node.
const (
	namespace  = "/sim"
	clientName = "client"
)

// place is what a key of package backend/etcd is about.
type place struct {
	kind placeKind
	id   string // of the task or the node
}

type placeKind string

const (
	atTask        placeKind = "task"
	atOwner       placeKind = "owner"
	atState       placeKind = "state"
	atTaskCommand placeKind = "command"
	atNode        placeKind = "node"
	atNodeCommand placeKind = "node command"
	elsewhere     placeKind = ""
)

func placeOf(key []byte) place {
	rest, ok := strings.CutPrefix(string(key), namespace+"/")
	if !ok {
		return place{}
	}
	area, rest, _ := strings.Cut(rest, "/")
	id, below, _ := strings.Cut(rest, "/")
	if strings.Contains(id, "%") {
		if plain, err := url.PathUnescape(id); err == nil {
			id = plain
		}
	}
	kind := elsewhere
	switch {
	case area == "tasks" && below == "":
		kind = atTask
	case area == "tasks":
		kind = atOwner
	case area == "state":
		kind = atState
	case area == "commands":
		kind = atTaskCommand
	case area == "nodes" && below == "":
		kind = atNode
	case area == "nodes":
		kind = atNodeCommand
	}
	return place{kind: kind, id: id}
}

// putVerb and deleteVerb name what writing and deleting at a place does.
func putVerb(k placeKind) string {
	switch k {
	case atTask:
		return "submit"
	case atOwner:
		return "claim"
	case atState:
		return "store"
	case atTaskCommand:
		return "send"
	case atNode:
		return "register"
	case atNodeCommand:
		return "command"
	}
	return "put"
}

func deleteVerb(k placeKind) string {
	switch k {
	case atTask:
		return "done"
	case atOwner:
		return "release"
	case atState:
		return "forget"
	case atTaskCommand:
		return "handled"
	case atNode:
		return "deregister"
	case atNodeCommand:
		return "take command"
	}
	return "delete"
}

// deed is what one operation of a request does to tasks and nodes.
type deed struct {
	verb string
	id   string
}

func (d deed) String() string { return strings.TrimSpace(d.verb + " " + d.id) }

// deedOf tells what the operations that a transaction makes are good for.
func deedOf(ops []*pb.RequestOp) deed {
	var d deed
	for _, op := range ops {
		switch o := op.Request.(type) {
		case *pb.RequestOp_RequestPut:
			p := placeOf(o.RequestPut.Key)
			return deed{verb: putVerb(p.kind), id: p.id}
		case *pb.RequestOp_RequestDeleteRange:
			p := placeOf(o.RequestDeleteRange.Key)
			if d.verb == "" || p.kind == atTask {
				d = deed{verb: deleteVerb(p.kind), id: p.id}
			}
		case *pb.RequestOp_RequestTxn:
			if d.verb == "" {
				d = deedOf(o.RequestTxn.Success)
			}
		case *pb.RequestOp_RequestRange:
			if d.verb == "" {
				p := placeOf(o.RequestRange.Key)
				d = deed{verb: "read", id: strings.TrimSpace(string(p.kind) + " " + p.id)}
			}
		}
	}
	return d
}

// deedsOf lists what a request does, each part of a grouped one by itself.
func deedsOf(c *simetcd.Call) []deed {
	switch r := c.Request().(type) {
	case *pb.TxnRequest:
		var deeds []deed
		for _, op := range r.Success {
			if nested := op.GetRequestTxn(); nested != nil && len(r.Compare) == 0 {
				deeds = append(deeds, deedOf(nested.Success))
			}
		}
		if deeds == nil {
			deeds = []deed{deedOf(r.Success)}
		}
		for i := range deeds {
			if c.Node() == clientName && deeds[i].verb == string(OpDone) {
				deeds[i].verb = string(OpDelete) // the same request, but for the compares
			}
		}
		return deeds
	case *pb.LeaseGrantRequest:
		return []deed{{verb: "grant"}}
	case *pb.LeaseKeepAliveRequest:
		return []deed{{verb: "renew"}}
	case *pb.LeaseRevokeRequest:
		return []deed{{verb: "revoke"}}
	case *pb.RangeRequest:
		return []deed{{verb: "list", id: area(r.Key)}}
	case *pb.WatchCreateRequest:
		return []deed{{verb: "watch", id: area(r.Key)}}
	}
	return nil
}

func area(key []byte) string { return strings.Trim(strings.TrimPrefix(string(key), namespace), "/") }

// describeCall says what a request does and, once it was applied, what came of it.
func describeCall(c *simetcd.Call) string {
	deeds := deedsOf(c)
	if deeds == nil {
		return c.String()
	}
	resp, err := c.Result()
	txn, _ := resp.(*pb.TxnResponse)
	parts := make([]string, len(deeds))
	for i, d := range deeds {
		parts[i] = d.String()
		if txn != nil && refused(txn, i) {
			parts[i] += ": refused"
		}
	}
	text := strings.Join(parts, ", ")
	switch r := resp.(type) {
	case *pb.TxnResponse:
		text += fmt.Sprintf(" @%d", r.Header.Revision)
	case *pb.RangeResponse:
		text += fmt.Sprintf(": %d @%d", len(r.Kvs), r.Header.Revision)
	case *pb.LeaseGrantResponse:
		text += fmt.Sprintf(" lease %d", r.ID)
	}
	if err != nil {
		text += ": " + err.Error()
	}
	return text
}

// refused reports whether the compares of the i-th part of a transaction did not hold.
func refused(txn *pb.TxnResponse, i int) bool {
	if !txn.Succeeded {
		return true // it has one part, and compares of its own
	}
	if i >= len(txn.Responses) {
		return false
	}
	nested := txn.Responses[i].GetResponseTxn()
	return nested != nil && !nested.Succeeded
}

// changesSomething reports whether a request writes.
func changesSomething(c *simetcd.Call) bool {
	switch c.Kind() {
	case simetcd.KindTxn, simetcd.KindPut, simetcd.KindDelete, simetcd.KindGrant, simetcd.KindRevoke, simetcd.KindKeepAlive:
		return true
	}
	return false
}
