package etcd

import (
	"fmt"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// etcdOfCommands is what etcd has of one task's command, and a node that watches
// it and is behind. It plays the parts of the committer and of the feed.
type etcdOfCommands struct {
	*orders
	rev     int64
	current *keyValue // nil where no command is pending
	log     []*clientv3.Event
	watched int             // how much of the log the node has been told
	removed map[int64]int64 // the revision of a command to that of its end
	ours    map[int64]bool  // the commands that this claim has handled

	claimed   int64  // the fence of the node's claim, 0 without
	reply     func() // takes in the reply to the claim, nil once it is
	stop      func()
	delivered []int64
	wrong     string
}

func (e *etcdOfCommands) end(rev int64) {
	if e.current != nil {
		e.removed[e.current.ModRevision] = rev
	}
	e.current = nil
}

// send replaces the command by another.
func (e *etcdOfCommands) send() {
	e.rev++
	e.end(e.rev)
	e.current = &keyValue{
		Key: []byte(e.keys.command("t")), ModRevision: e.rev,
		Value: []byte(encode(commandRecord{Message: statemachine.Run(), Nonce: fmt.Sprint(e.rev)})),
	}
	e.log = append(e.log, &clientv3.Event{Type: clientv3.EventTypePut, Kv: e.current})
}

// remove removes the command, as an owner does that has handled it.
func (e *etcdOfCommands) remove() {
	e.rev++
	e.end(e.rev)
	e.log = append(e.log, &clientv3.Event{
		Type: clientv3.EventTypeDelete, Kv: &keyValue{Key: []byte(e.keys.command("t")), ModRevision: e.rev},
	})
}

// claim makes the node the owner, and fetches the command along with that. The
// node takes the reply in later.
func (e *etcdOfCommands) claim() {
	e.rev++
	e.claimed, e.ours = e.rev, make(map[int64]bool)
	fetched, rev := e.current, e.rev
	e.reply = func() {
		e.reply = nil
		e.orders.claimed("t", fetched, rev)
		e.beginListening()
	}
}

func (e *etcdOfCommands) beginListening() {
	e.delivered = nil
	l := &listener{claim: metafora.Claim{TaskID: "t"}, deliver: e.deliver}
	e.listen(l)
	e.stop = func() { e.unlisten(l) }
}

func (e *etcdOfCommands) release() {
	e.rev++
	e.stop()
	e.claimed = 0
	e.forget("t")
}

func (e *etcdOfCommands) deliver(cmd statemachine.Command) {
	id := int64(cmd.ID)
	ended, over := e.removed[id]
	switch {
	case e.claimed == 0:
		e.wrong = "a command came after stop"
	case over && ended < e.claimed:
		e.wrong = "a command came that was over before the claim"
	case e.ours[id]:
		e.wrong = "a command came that was handled"
	case len(e.delivered) > 0 && id <= e.delivered[len(e.delivered)-1]:
		e.wrong = "a command came again, or after a newer one"
	}
	e.delivered = append(e.delivered, id)
}

// tell has the watch tell of the next n events, all at once.
func (e *etcdOfCommands) tell(n int) {
	n = min(n, len(e.log)-e.watched)
	e.orders.events(e.log[e.watched : e.watched+n])
	e.watched += n
}

// list lists the prefix, as the feed does every so often and after a compaction.
func (e *etcdOfCommands) list() {
	var kvs []*keyValue
	if e.current != nil {
		kvs = append(kvs, e.current)
	}
	e.listed(kvs, e.rev)
}

func (e *etcdOfCommands) step(action string, n int) {
	owned := e.claimed != 0
	runs := owned && e.reply == nil
	switch {
	case action == "send":
		e.send()
	case action == "another owner handles" && !owned && e.current != nil:
		e.remove()
	case action == "claim" && !owned:
		e.claim()
	case action == "claim" && !runs:
		e.reply()
	case action == "release" && runs:
		e.release()
	case action == "handle" && runs && len(e.delivered) > 0:
		id := e.delivered[len(e.delivered)-1]
		if e.current != nil && e.current.ModRevision == id {
			e.remove()
		}
		e.handled("t", uint64(id))
		e.ours[id] = true
	case action == "listen anew" && runs:
		e.stop()
		e.beginListening()
	case action == "tell":
		e.tell(n)
	case action == "list":
		e.list()
	case action == "compact":
		e.list()
		e.watched = len(e.log)
	}
}

// A claim gets no command that was over before it, none twice, and none after a
// newer one; once the watch has caught up it has had the pending one.
func TestClaimGetsCommandsOnceAndInOrderHoweverFarBehindTheWatch(t *testing.T) {
	keys, err := newKeyspace("/ns")
	if err != nil {
		t.Fatal(err)
	}
	// Some of what can go wrong takes more histories than a check has.
	for range 10 {
		rapid.Check(t, func(t *rapid.T) { followCommands(t, keys) })
	}
}

func followCommands(t *rapid.T, keys keyspace) {
	e := &etcdOfCommands{orders: newOrders(keys), rev: 1, removed: make(map[int64]int64)}
	for range rapid.IntRange(50, 100).Draw(t, "steps") {
		action := rapid.SampledFrom([]string{
			"send", "claim", "tell", "handle", "release", "another owner handles", "listen anew", "list", "compact",
		}).Draw(t, "action")
		e.step(action, rapid.IntRange(1, 4).Draw(t, "events"))
		if e.wrong != "" {
			t.Fatalf("%s", e.wrong)
		}
	}
	if e.claimed == 0 {
		e.claim()
	}
	if e.reply != nil {
		e.reply()
	}
	e.tell(len(e.log))
	switch {
	case e.wrong != "":
		t.Fatalf("%s", e.wrong)
	case e.current != nil && (len(e.delivered) == 0 || e.delivered[len(e.delivered)-1] != e.current.ModRevision):
		t.Fatalf("the pending command was not delivered")
	}
	e.release()
	if n := len(e.listeners); n != 0 {
		t.Fatalf("%d listeners are left", n)
	}
	if ord, ok := e.pending["t"]; ok && ord.value == nil {
		t.Fatalf("something is kept of a task without a command")
	}
}

func TestOnlyTheLastCommandOfABatchIsDelivered(t *testing.T) {
	keys, err := newKeyspace("/ns")
	if err != nil {
		t.Fatal(err)
	}
	e := &etcdOfCommands{orders: newOrders(keys), rev: 1, removed: make(map[int64]int64)}
	e.claim()
	e.reply()
	e.send()
	e.send()
	e.send()
	e.tell(3)
	if len(e.delivered) != 1 || e.delivered[0] != e.current.ModRevision {
		t.Errorf("delivered %v, want the last one, %d", e.delivered, e.current.ModRevision)
	}
}
