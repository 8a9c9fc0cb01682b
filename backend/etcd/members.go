package etcd

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
)

// members is the view of the live nodes. One goroutine changes it; any may read.
type members struct {
	keys  keyspace
	known []member // by name
	told  atomic.Pointer[[]metafora.Node]
}

type member struct {
	node metafora.Node
	rev  int64
}

func newMembers(keys keyspace) *members {
	m := &members{keys: keys}
	m.publish()
	return m
}

func (m *members) nodes() []metafora.Node { return *m.told.Load() }

// listed takes in a list as of rev and reports whether anything changed.
func (m *members) listed(kvs []*keyValue, rev int64) bool {
	before := m.nodes()
	listed := make(map[string]bool, len(kvs))
	for _, kv := range kvs {
		name, command, ok := m.keys.parseNode(string(kv.Key))
		if ok && !command {
			listed[name] = true
			m.put(name, kv)
		}
	}
	m.known = slices.DeleteFunc(m.known, func(mb member) bool { return !listed[mb.node.Name] && mb.rev <= rev })
	m.publish()
	return !slices.EqualFunc(before, m.nodes(), sameNode)
}

// events takes in what the watch tells and reports whether any node changed.
func (m *members) events(events []*clientv3.Event) (changed bool) {
	for _, ev := range events {
		name, command, ok := m.keys.parseNode(string(ev.Kv.Key))
		if !ok || command {
			continue
		}
		if ev.Type == clientv3.EventTypePut {
			m.put(name, ev.Kv)
		} else if i, ok := m.find(name); ok && m.known[i].rev <= ev.Kv.ModRevision {
			m.known = slices.Delete(m.known, i, i+1)
		}
		changed = true
	}
	if changed {
		m.publish()
	}
	return changed
}

func (m *members) put(name string, kv *keyValue) {
	i, known := m.find(name)
	if known && kv.ModRevision <= m.known[i].rev {
		return
	}
	rec := nodeRecord{Accepting: true}
	// A record that cannot be parsed is of a live node all the same.
	_ = json.Unmarshal(kv.Value, &rec)
	mb := member{node: rec.node(name), rev: kv.ModRevision}
	if known {
		m.known[i] = mb
	} else {
		m.known = slices.Insert(m.known, i, mb)
	}
}

// find returns where a node is, or would be, among those that are known.
func (m *members) find(name string) (i int, known bool) {
	return slices.BinarySearchFunc(m.known, name, func(mb member, name string) int {
		return strings.Compare(mb.node.Name, name)
	})
}

func (m *members) publish() {
	nodes := make([]metafora.Node, len(m.known))
	for i, mb := range m.known {
		nodes[i] = mb.node
	}
	m.told.Store(&nodes)
}

func sameNode(a, b metafora.Node) bool {
	return a.Name == b.Name && a.Accepting == b.Accepting && a.Weight == b.Weight && maps.Equal(a.Labels, b.Labels)
}

// checkMembership has the lease renewed when this node's own key is gone: if the
// lease was revoked from outside, waiting for the next renewal would leave the
// node without claims for a third of the TTL; if it was not, the key must be
// written again.
func (c *Coordinator) checkMembership() {
	s := c.session.Load()
	isSelf := func(n metafora.Node) bool { return n.Name == c.name }
	if s != nil && !slices.ContainsFunc(c.members.nodes(), isSelf) {
		s.suspect()
	}
}

// nodeValue is what this node tells the others of itself.
func (c *Coordinator) nodeValue(accepting bool) string {
	return encode(nodeRecord{Accepting: accepting, Weight: c.opts.Weight, Labels: c.opts.Labels})
}

// decodeNodes turns a list below nodes into the live nodes, by name.
func decodeNodes(keys keyspace, kvs []*keyValue) []metafora.Node {
	m := newMembers(keys)
	m.listed(kvs, 0)
	return m.nodes()
}
