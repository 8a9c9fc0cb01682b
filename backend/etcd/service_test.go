package etcd_test

import (
	"context"
	"strings"
	"testing"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/statemachine"
)

func TestNewServiceNamesWhatIsWrong(t *testing.T) {
	complete := statemachine.Config{
		Handler: func(context.Context, metafora.Task, <-chan statemachine.Message) statemachine.Message {
			return statemachine.Complete()
		},
		Balancer: func(metafora.ClusterState) metafora.Balancer { return balance.All() },
	}
	conn := struct{ etcd.Conn }{}
	if _, err := etcd.NewService(conn, "node-1", complete, etcd.Options{}); err != nil {
		t.Errorf("complete: %v", err)
	}
	for _, tc := range []struct {
		want string
		conn etcd.Conn
		name string
		c    statemachine.Config
		o    etcd.Options
	}{
		{"nil connection", nil, "node-1", complete, etcd.Options{}},
		{"node name", conn, "", complete, etcd.Options{}},
		{"weight -1", conn, "node-1", complete, etcd.Options{Weight: -1}},
		{"nil Handler", conn, "node-1", statemachine.Config{Balancer: complete.Balancer}, etcd.Options{}},
	} {
		if _, err := etcd.NewService(tc.conn, tc.name, tc.c, tc.o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("got the error %v, want one about %q", err, tc.want)
		}
	}
}
