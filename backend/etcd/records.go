package etcd

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/metafora-go/metafora"
)

// The values of the keys, all JSON for people with etcdctl. Decoders ignore
// fields they do not know, so that nodes of two versions can share a cluster.

type taskRecord struct {
	Props json.RawMessage `json:"props"`
	// Submission tells a submission from another of the same properties when
	// the reply to it was lost.
	Submission string `json:"submission,omitempty"`
}

type ownerRecord struct {
	Node string `json:"node"`
}

// nodeRecord has the node's name in its key.
type nodeRecord struct {
	Accepting bool              `json:"accepting"`
	Weight    float64           `json:"weight"`
	Labels    map[string]string `json:"labels,omitempty"`
}

func (r nodeRecord) node(name string) metafora.Node {
	if r.Weight <= 0 {
		r.Weight = 1
	}
	return metafora.Node{Name: name, Accepting: r.Accepting, Weight: r.Weight, Labels: r.Labels}
}

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		// The records hold strings, numbers and JSON that was checked before.
		panic(fmt.Sprintf("etcd: encode %T: %v", v, err))
	}
	return string(b)
}

// decodeTask returns the props of a stored task, which may share its memory.
func decodeTask(value []byte) (props []byte, err error) {
	if props, ok := splitTask(value); ok {
		return props, nil
	}
	var r taskRecord
	if err := json.Unmarshal(value, &r); err != nil {
		return nil, fmt.Errorf("stored task is malformed: %w", err)
	}
	if len(r.Props) == 0 {
		return nil, fmt.Errorf("stored task has no props: %.64q", value)
	}
	return r.Props, nil
}

// splitTask decodes a task whose value is as a submission writes it. Each node decodes
// each task of the cluster, and this costs a small part of what the JSON decoder does.
func splitTask(value []byte) (props []byte, ok bool) {
	rest, begins := bytes.CutPrefix(value, []byte(`{"props":`))
	rest, ends := bytes.CutSuffix(rest, []byte(`"}`))
	const field = `,"submission":"`
	at := bytes.LastIndex(rest, []byte(field))
	if !begins || !ends || at < 0 || !plain(rest[at+len(field):]) || !json.Valid(rest[:at]) {
		return nil, false
	}
	return bytes.TrimSpace(rest[:at]), true
}

func decodeOwner(value []byte) string {
	var r ownerRecord
	// A malformed owner is an owner still: the key's existence is the claim.
	_ = json.Unmarshal(value, &r)
	return r.Node
}
