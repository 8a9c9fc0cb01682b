package simetcd_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/metafora-go/metafora/simtest/simetcd"
)

func TestServerShowsWhatItHolds(t *testing.T) {
	server, node := manual(t)
	mustPut(t, node, "a/1", "a/2", "b", "a/1")
	if _, err := node.Delete(t.Context(), "a/2"); err != nil {
		t.Fatal(err)
	}
	if server.Compacted() != -1 || server.Revision() != 6 {
		t.Errorf("compacted @%d of @%d", server.Compacted(), server.Revision())
	}
	var list []string
	for _, kv := range server.List("a") {
		list = append(list, fmt.Sprintf("%s v%d", kv.Key, kv.Version))
	}
	if text := strings.Join(list, ", "); text != "a/1 v2" {
		t.Errorf("keys %s", text)
	}
	if err := server.Compact(6); err != nil || server.Compacted() != 6 {
		t.Errorf("compacted @%d, error %v", server.Compacted(), err)
	}
	var history []string
	for _, e := range server.History(4) {
		history = append(history, fmt.Sprintf("%s %s after v%d", e.Type, e.Kv.Key, e.PrevKv.GetVersion()))
	}
	if text := strings.Join(history, ", "); text != "PUT a/1 after v1, DELETE a/2 after v1" {
		t.Errorf("history %s", text)
	}
}

func TestGetStreamIsUnknown(t *testing.T) {
	_, node := manual(t)
	if _, err := node.GetStream(t.Context(), "a"); status.Code(err) != codes.Unimplemented {
		t.Errorf("error %v", err)
	}
}

func TestRequestsOfWatchesAndCallsCanBeSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, node, s := staged(t, simetcd.Manual())
		done := put(t.Context(), node, "a", "1")
		call := only(t, s)
		if r, ok := call.Request().(*pb.PutRequest); !ok || string(r.Key) != "a" {
			t.Errorf("request %v", call.Request())
		}
		s.release(call, nil)
		if err := <-done; err != nil {
			t.Error(err)
		}
		other := server.Client("n2", nil)
		other.Watch(t.Context(), "a", clientv3.WithRev(7))
		if r := server.Watches()[0].Request(); r.StartRevision != 7 {
			t.Errorf("request %v", r)
		}
	})
}
