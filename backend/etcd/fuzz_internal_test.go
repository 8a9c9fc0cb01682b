package etcd

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
)

var awkwardIDs = []string{
	"t", "owner", "commands", "..", ".", "a/b", "a/owner", "/", "//", "a/", "%", "%2F", "%2f", "100%", "a b", "a+b", "ü/ß", "日本",
	"a/commands/b", "x\x00y", "", "\xff", "a\nb", strings.Repeat("x", 600),
}

// Every ID has one key of each kind, and every key is of at most one ID: what
// is parsed from a key leads back to it.
func FuzzKeys(f *testing.F) {
	for _, id := range awkwardIDs {
		f.Add(id)
	}
	keys, err := newKeyspace("/prod/a")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		// s as an ID.
		if metafora.ValidateID(s) == nil {
			if id, owner, ok := keys.parseTask(keys.task(s)); id != s || owner || !ok {
				t.Errorf("task's key of %q: %q, %v, %v", s, id, owner, ok)
			}
			if id, owner, ok := keys.parseTask(keys.owner(s)); id != s || !owner || !ok {
				t.Errorf("owner's key of %q: %q, %v, %v", s, id, owner, ok)
			}
			if name, command, ok := keys.parseNode(keys.node(s)); name != s || command || !ok {
				t.Errorf("node's key of %q: %q, %v, %v", s, name, command, ok)
			}
			if name, command, ok := keys.parseNode(keys.nodeCommands(s) + "nonce"); name != s || !command || !ok {
				t.Errorf("command's key of %q: %q, %v, %v", s, name, command, ok)
			}
		}
		if plain([]byte(s)) && keys.task(s) != keys.tasks+s {
			t.Errorf("%q is not plain: its key is %q", s, keys.task(s))
		}
		// s as a key that somebody wrote.
		if id, owner, ok := keys.parseTask(keys.tasks + s); ok {
			key := keys.task(id)
			if owner {
				key = keys.owner(id)
			}
			if key != keys.tasks+s {
				t.Errorf("key %q is taken for %q", keys.tasks+s, key)
			}
		}
		// The index finds the task that s is of, and no other.
		x := newIndex("a", keys, hclog.NewNullLogger())
		if s != "" {
			x.add(s)
		}
		id, owner, ok := keys.parseTask(keys.tasks + s)
		switch e, isOwner := x.find([]byte(keys.tasks+s), true); {
		case (e != nil) != ok:
			t.Errorf("%q is a key: %v, and its entry is %v", keys.tasks+s, ok, e)
		case ok && (e.id != id || isOwner != owner):
			t.Errorf("%q is found as %q, %v, not %q, %v", keys.tasks+s, e.id, isOwner, id, owner)
		}
		if name, command, ok := keys.parseNode(keys.nodes + s); ok {
			if !strings.HasPrefix(keys.nodes+s, keys.node(name)) || command != strings.HasPrefix(keys.nodes+s, keys.nodeCommands(name)) {
				t.Errorf("key %q is taken for the node %q, command %v", keys.nodes+s, name, command)
			}
		}
	})
}

// A namespace is refused, or its keys lie in no other one's.
func FuzzNamespaces(f *testing.F) {
	for _, pair := range [][2]string{{"/a", "/ab"}, {"/a", "/a/b"}, {"a", "/a/"}, {"/a", "/a/tasks"}, {"/", ""}, {"//", "/a//b"}, {"/a/nodes/b", "/a"}} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		ka, errA := newKeyspace(a)
		kb, errB := newKeyspace(b)
		if errA != nil || errB != nil || ka == kb {
			return
		}
		for _, p := range []string{ka.tasks, ka.nodes, ka.state, ka.commands} {
			for _, q := range []string{kb.tasks, kb.nodes, kb.state, kb.commands} {
				if strings.HasPrefix(p, q) || strings.HasPrefix(q, p) {
					t.Errorf("namespaces %q and %q share keys below %q and %q", a, b, p, q)
				}
			}
		}
	})
}

var awkwardValues = []string{
	`{"props":{"a":1},"submission":"x"}`, `{"props": [1] ,"submission":"x"}`, `{"props":1,"props":2,"submission":"x"}`,
	`{"props":{"a":1,"submission":"x"}}`, `{"props":"\xff","submission":"x"}`, `{"props":{},"submission":"a\"}`, `{"props":,"submission":""}`,
	`{"props":null}`, `{"props":[]}`, `{"node":"a"}`, `{"node":7}`, `{"accepting":false,"weight":2}`,
	`{"weight":-1}`, `{"weight":1e999}`, `{"labels":{"a":"b"}}`, `{"labels":[]}`, `{"message":{"message":"pause"},"nonce":"n"}`,
	`{"message":{"message":"sleep"}}`, `{"message":{}}`, `{"command":"freeze"}`, `{`, ``, `null`, `"x"`, `[]`, "\x00", "\xff",
}

// A record that decodes keeps what it says when it is encoded again.
func FuzzRecords(f *testing.F) {
	for _, v := range awkwardValues {
		f.Add([]byte(v))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		if props, err := decodeTask(value); err == nil {
			again, err := decodeTask([]byte(encode(taskRecord{Props: props, Submission: "x-1"})))
			want, invalid := json.Marshal(json.RawMessage(props))
			if invalid != nil {
				t.Fatalf("props of %q are no JSON", value)
			}
			if err != nil || !bytes.Equal(again, want) {
				t.Errorf("%q became %q, %v", props, again, err)
			}
		}
		var rec taskRecord
		if props, ok := splitTask(value); ok && (json.Unmarshal(value, &rec) != nil || !bytes.Equal(props, rec.Props)) {
			t.Errorf("%q has the props %q, not %q", value, rec.Props, props)
		}
		if node := decodeOwner(value); decodeOwner([]byte(encode(ownerRecord{Node: node}))) != node {
			t.Errorf("owner %q of %q does not survive", node, value)
		}
	})
}

// What others write with etcdctl, whatever it is, stops no node.
func FuzzWatchEvents(f *testing.F) {
	for i, id := range awkwardIDs {
		f.Add(id, []byte(awkwardValues[i%len(awkwardValues)]), i%3 == 0)
		f.Add(id+"/owner", []byte(awkwardValues[i%len(awkwardValues)]), i%3 == 1)
		f.Add(id+"/commands/n", []byte(awkwardValues[i%len(awkwardValues)]), i%3 == 2)
	}
	keys, err := newKeyspace("")
	if err == nil {
		f.Fatal("the empty namespace is accepted")
	}
	if keys, err = newKeyspace("/metafora"); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, suffix string, value []byte, deleted bool) {
		x, m, b, o := newIndex("a", keys, hclog.NewNullLogger()), newMembers(keys), newInbox(keys, "a"), newOrders(keys)
		// The key comes, changes and goes; before and after it a list is taken.
		event := func(prefix string, rev int64, deleted bool) []*clientv3.Event {
			ev := &clientv3.Event{Kv: &mvccpb.KeyValue{Key: []byte(prefix + suffix), Value: value, CreateRevision: 2, ModRevision: rev}}
			if deleted {
				ev.Type = clientv3.EventTypeDelete
			}
			return []*clientv3.Event{ev}
		}
		list := func(prefix string, rev int64) []*keyValue { return []*keyValue{event(prefix, rev, false)[0].Kv} }
		x.reset(nil, 1, true)
		for rev := int64(2); rev < 5; rev++ {
			gone := deleted && rev > 2
			x.events(event(keys.tasks, rev, gone))
			m.events(event(keys.nodes, rev, gone))
			b.events(event(keys.nodes, rev, gone))
			o.events(event(keys.commands, rev, gone))
		}
		x.reset(list(keys.tasks, 5), 5, false)
		m.listed(list(keys.nodes, 5), 5)
		b.listed(list(keys.nodes, 5))
		o.listed(list(keys.commands, 5), 5)
		x.reset(nil, 6, true)
		m.listed(nil, 6)
		o.listed(nil, 6)
		if len(x.tasks) > 0 || x.owners.owned() != 0 || len(m.nodes()) > 0 {
			t.Errorf("left of what is gone: tasks %v, owned %d, nodes %v", x.tasks, x.owners.owned(), m.nodes())
		}
		for {
			if e, _, _ := x.nextWaiting(); e == nil {
				break
			}
		}
		if l := b.first(); l != nil {
			_, _ = metafora.DecodeCommand(l.value)
		}
		decodeTasks(keys, list(keys.tasks, 5))
		decodeNodes(keys, list(keys.nodes, 5))
	})
}
