package etcd

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/metafora-go/metafora"
)

// keyspace knows where everything lives below a namespace. IDs are path-escaped,
// so that a key has no more slashes than its kind allows.
type keyspace struct {
	tasks    string // /<ns>/tasks/
	nodes    string // /<ns>/nodes/
	state    string // /<ns>/state/
	commands string // /<ns>/commands/
}

const (
	ownerSuffix   = "/owner"
	commandsInfix = "/commands/"
)

// newKeyspace checks a namespace such as "/prod/metafora". A segment that is
// also one of ours would let the keys of one namespace lie within another's.
func newKeyspace(ns string) (keyspace, error) {
	trimmed := strings.Trim(ns, "/")
	for seg := range strings.SplitSeq(trimmed, "/") {
		if err := metafora.ValidateID(seg); err != nil {
			return keyspace{}, fmt.Errorf("namespace %.64q: segment: %w", ns, err)
		}
		switch seg {
		case "tasks", "nodes", "state", "commands":
			return keyspace{}, fmt.Errorf("namespace %q: %w: the segment %q is reserved", ns, metafora.ErrInvalidID, seg)
		}
	}
	root := "/" + trimmed
	return keyspace{
		tasks:    root + "/tasks/",
		nodes:    root + "/nodes/",
		state:    root + "/state/",
		commands: root + "/commands/",
	}, nil
}

func (k keyspace) task(id string) string    { return k.tasks + url.PathEscape(id) }
func (k keyspace) owner(id string) string   { return k.tasks + url.PathEscape(id) + ownerSuffix }
func (k keyspace) stateOf(id string) string { return k.state + url.PathEscape(id) }
func (k keyspace) command(id string) string { return k.commands + url.PathEscape(id) }
func (k keyspace) node(name string) string  { return k.nodes + url.PathEscape(name) }
func (k keyspace) nodeCommands(name string) string {
	return k.nodes + url.PathEscape(name) + commandsInfix
}

// parseTask splits a key below tasks into the ID and whether it is the owner's
// key. It reports false for a key that is not ours.
func (k keyspace) parseTask(key string) (id string, owner, ok bool) {
	rest := key[len(k.tasks):]
	rest, owner = strings.CutSuffix(rest, ownerSuffix)
	id, ok = unescapeID(rest)
	return id, owner, ok
}

// parseNode splits a key below nodes into the node's name and, for one of its
// commands, true.
func (k keyspace) parseNode(key string) (name string, command, ok bool) {
	rest := key[len(k.nodes):]
	rest, seq, command := strings.Cut(rest, commandsInfix)
	if command && (seq == "" || strings.Contains(seq, "/")) {
		return "", false, false
	}
	name, ok = unescapeID(rest)
	return name, command, ok
}

// unescapeID undoes url.PathEscape, strictly: each ID has exactly one key.
func unescapeID(s string) (string, bool) {
	if s == "" || strings.Contains(s, "/") {
		return "", false
	}
	if !strings.Contains(s, "%") {
		return s, url.PathEscape(s) == s
	}
	id, err := url.PathUnescape(s)
	return id, err == nil && url.PathEscape(id) == s
}

// plain reports whether an ID stands in its keys as it is, for most IDs: none of its
// bytes is ever escaped.
func plain(id []byte) bool {
	for _, c := range id {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return len(id) > 0
}
