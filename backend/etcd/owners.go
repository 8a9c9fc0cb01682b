package etcd

import (
	"slices"
	"strings"
)

// maxOwners bounds how many owners are remembered that have no tasks.
const maxOwners = 10_000

// owners counts the tasks of each node. There are as many owners, and as many values of
// their keys, as there are nodes; tasks point to them.
type owners struct {
	known   []knownOwner      // by name
	byValue map[string]*owner // what the values of keys decode to
	// next is where among those known the next is looked for first. A balancer asks
	// for the counts of all nodes, over and over, in the order of their names.
	next int
}

type owner struct {
	name  string
	tasks int
}

// knownOwner has an owner's name as it was asked for last, if it was. The next to ask has
// the same string as a rule: to compare it with itself reads nothing else.
type knownOwner struct {
	name string
	*owner
}

func newOwners() owners {
	return owners{byValue: make(map[string]*owner)}
}

// of decodes an owner's key.
func (os *owners) of(kv *keyValue) *owner {
	o := os.byValue[string(kv.Value)]
	if o == nil {
		o = os.named(decodeOwner(kv.Value))
		if len(os.byValue) >= maxOwners {
			clear(os.byValue)
		}
		os.byValue[string(kv.Value)] = o
	}
	return o
}

func (os *owners) named(name string) *owner {
	i, known := os.find(name)
	if known {
		return os.known[i].owner
	}
	if len(os.known) >= maxOwners {
		os.known = slices.DeleteFunc(os.known, func(o knownOwner) bool { return o.tasks == 0 })
		clear(os.byValue) // which may have those
		i, _ = os.find(name)
	}
	o := &owner{name: name}
	os.known = slices.Insert(os.known, i, knownOwner{name, o})
	return o
}

func (os *owners) find(name string) (i int, known bool) {
	if os.next < len(os.known) && os.known[os.next].name == name {
		return os.next, true
	}
	return slices.BinarySearchFunc(os.known, name, func(o knownOwner, name string) int { return strings.Compare(o.name, name) })
}

// tasks returns how many tasks a node owns.
func (os *owners) tasks(name string) int {
	i, known := os.find(name)
	if !known {
		os.next = i
		return 0
	}
	os.next = i + 1
	o := &os.known[i]
	o.name = name
	return o.tasks
}

// owned returns how many tasks have an owner.
func (os *owners) owned() int {
	n := 0
	for _, o := range os.known {
		n += o.tasks
	}
	return n
}
