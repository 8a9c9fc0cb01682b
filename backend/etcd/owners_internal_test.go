package etcd

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"pgregory.net/rapid"
)

// Whatever order nodes are asked for in, each has the tasks that it has.
func TestOwnersAreCounted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		os, want := newOwners(), make(map[string]int)
		name := rapid.StringMatching(`[a-d]{0,2}`)
		for range rapid.IntRange(0, 50).Draw(t, "steps") {
			n := name.Draw(t, "name")
			o := os.of(&mvccpb.KeyValue{Value: []byte(encode(ownerRecord{Node: n}))})
			if rapid.Bool().Draw(t, "by name") && os.named(n) != o {
				t.Fatalf("%q has two owners", n)
			}
			o.tasks++
			want[n]++
			if rapid.Bool().Draw(t, "all") {
				for _, n := range sortedKeys(want) {
					if got := os.tasks(n); got != want[n] {
						t.Fatalf("%q has %d tasks, want %d", n, got, want[n])
					}
				}
			}
			if n := name.Draw(t, "asked"); os.tasks(n) != want[n] {
				t.Fatalf("%q has %d tasks, want %d", n, os.tasks(n), want[n])
			}
		}
	})
}

// Values of keys that somebody writes must not fill the memory, nor lose counts.
func TestOwnersAreForgotten(t *testing.T) {
	os := newOwners()
	kept := os.named("kept")
	kept.tasks = 1
	for i := range 3 * maxOwners {
		os.of(&mvccpb.KeyValue{Value: fmt.Appendf(nil, `{"node":"n%d"}`, i)})
		if len(os.known) > maxOwners || len(os.byValue) > maxOwners {
			t.Fatalf("%d owners, %d values", len(os.known), len(os.byValue))
		}
	}
	if os.named("kept") != kept || os.tasks("kept") != 1 || os.owned() != 1 {
		t.Errorf("the owner of a task is forgotten")
	}
	if !slices.IsSortedFunc(os.known, func(a, b knownOwner) int { return strings.Compare(a.name, b.name) }) {
		t.Error("not sorted")
	}
}
