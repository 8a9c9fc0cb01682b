package etcd

import "maps"

// maxOwners bounds how many owners are remembered that have no tasks.
const maxOwners = 10_000

// owners counts the tasks of each node. There are as many owners, and as many values of
// their keys, as there are nodes; tasks point to them.
type owners struct {
	byName  map[string]*owner
	byValue map[string]*owner // what the values of keys decode to
}

type owner struct {
	name  string
	tasks int
}

func newOwners() owners {
	return owners{byName: make(map[string]*owner), byValue: make(map[string]*owner)}
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
	o := os.byName[name]
	if o == nil {
		if len(os.byName) >= maxOwners {
			maps.DeleteFunc(os.byName, func(_ string, o *owner) bool { return o.tasks == 0 })
			clear(os.byValue) // which may have those
		}
		o = &owner{name: name}
		os.byName[name] = o
	}
	return o
}

// tasks returns how many tasks a node owns.
func (os *owners) tasks(name string) int {
	if o := os.byName[name]; o != nil {
		return o.tasks
	}
	return 0
}

// owned returns how many tasks have an owner.
func (os *owners) owned() int {
	n := 0
	for _, o := range os.byName {
		n += o.tasks
	}
	return n
}
