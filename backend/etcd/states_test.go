package etcd_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/simtest/simetcd"
	"github.com/metafora-go/metafora/statemachine"
)

// TestStatesOfManyTasks asks for more states than a transaction has operations.
func TestStatesOfManyTasks(t *testing.T) {
	server := simetcd.NewServer()
	t.Cleanup(server.Close)
	conn := server.Client("client", nil)
	client, err := etcd.NewClient(conn, etcd.Options{Namespace: "/ns"})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	put := func(id, value string) {
		t.Helper()
		if _, err := conn.Put(t.Context(), "/ns/state/"+id, value); err != nil {
			t.Fatal(err)
		}
	}
	paused, err := statemachine.EncodeState(statemachine.State{Code: statemachine.Paused, Since: time.Unix(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		id := fmt.Sprint("t", i)
		ids = append(ids, id)
		if i%2 == 0 {
			put(id, string(paused))
		}
	}
	put("t7", "what?")
	put("other", string(paused))

	states, err := client.States(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	if len(states) != 151 {
		t.Errorf("%d states, want 151", len(states))
	}
	for _, id := range []string{"t0", "t298"} {
		if states[id].Code != statemachine.Paused {
			t.Errorf("%s: %v", id, states[id])
		}
	}
	if bad := states["t7"]; bad.Code != statemachine.Fault || len(bad.Errors) != 1 {
		t.Errorf("a state that cannot be parsed is shown as %v", bad)
	}
	if none, err := client.States(t.Context(), nil); err != nil || len(none) != 0 {
		t.Errorf("of no tasks: %v, %v", none, err)
	}
	if _, err := client.States(t.Context(), []string{"t1", ""}); !errors.Is(err, metafora.ErrInvalidID) {
		t.Errorf("of a task without an ID: %v", err)
	}
}
