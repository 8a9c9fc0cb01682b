package etcd

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
)

type keyValue = mvccpb.KeyValue

// index is what this node knows of all tasks and their owners, from its list,
// its watch and the replies to its own writes, and of the claims that it holds.
//
// The three sources run at different speeds. Each fact therefore carries the
// revision of the store at which it was true, and only gives way to a later
// one: the watch, which lags, cannot undo what a reply has told already.
type index struct {
	name string
	keys keyspace
	log  hclog.Logger
	wake chan struct{} // holds one: there is something to announce

	mu      sync.Mutex // guards what follows
	tasks   map[string]*entry
	claims  map[string]*holding // by task, what this node owns
	strays  map[claimID]*holding
	owners  owners
	waiting []*entry                  // to be announced, in order
	leases  map[clientv3.LeaseID]bool // granted to this node since it started
	seen    int64                     // up to which the watch has told everything
	// unseen is what a list has told and the watch has yet to tell: keys, and
	// the revision as of which the list knew.
	unseen  map[string]int64
	repairs int
}

// entry is a task: submission and props as of revision taskRev, owner as of
// ownerRev. Each node has one for each task of the cluster, so they are small.
type entry struct {
	id         string
	submission int64 // the create revision of the task's key, 0 without one
	taskRev    int64
	props      []byte // nil when what is stored is malformed
	owner      *owner // when there is a fence
	fence      int64  // the create revision of the owner's key, 0 without one
	lease      clientv3.LeaseID
	ownerRev   int64

	task      metafora.Task // as last announced, until it is claimed
	announced bool          // since it became claimable
	queued    bool          // in waiting
	claiming  bool          // a claim of ours is under way
	// The list that is being taken in has its keys.
	taskListed, ownerListed bool
}

func (e *entry) claimable() bool { return e.submission != 0 && e.fence == 0 && e.props != nil }

// gone reports whether nothing is left of the task, and nothing under way.
func (e *entry) gone() bool { return e.submission == 0 && e.fence == 0 && !e.claiming }

type claimID struct {
	task  string
	fence uint64
}

// holding is a claim of this node. It is a stray once it is lost: its handler
// may still run, and until the Consumer releases it nobody else does.
type holding struct {
	claim      metafora.Claim
	session    *session
	submission int64
	ending     int           // calls of Release and Done under way
	stateRev   int64         // of the stored state, as far as is known; 0 without one
	fetched    *fetchedState // with the claim, and not loaded since
}

func (h *holding) id() claimID { return claimID{task: h.claim.TaskID, fence: h.claim.Fence} }

// effects are what must follow a change of the index, outside its lock.
type effects struct {
	lost    []metafora.Claim
	orphans []metafora.Claim // owned by us at the broker, run by nobody
}

func newIndex(name string, keys keyspace, log hclog.Logger) *index {
	return &index{
		name: name, keys: keys, log: log, wake: make(chan struct{}, 1),
		tasks:  make(map[string]*entry),
		claims: make(map[string]*holding),
		strays: make(map[claimID]*holding),
		owners: newOwners(),
		leases: make(map[clientv3.LeaseID]bool),
		unseen: make(map[string]int64),
	}
}

// granted notes a lease of this node.
func (x *index) granted(id clientv3.LeaseID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.leases[id] = true
}

// reset takes in a list of everything as of revision rev. resumed says that the
// watch goes on from there, otherwise from where it was.
func (x *index) reset(kvs []*keyValue, rev int64, resumed bool) (fx effects) {
	x.mu.Lock()
	defer x.mu.Unlock()
	repaired := 0
	if !resumed {
		repaired = len(x.unseen) // since the last list, which was long ago
	}
	clear(x.unseen)
	touched := make([]*entry, 0, len(kvs))
	if len(x.tasks) == 0 {
		x.tasks = make(map[string]*entry, len(kvs)/2) // most tasks have an owner
	}
	for _, kv := range kvs {
		e, owner := x.find(kv.Key, true)
		if e == nil {
			continue
		}
		if owner {
			e.ownerListed = true
		} else {
			e.taskListed = true
		}
		if !x.put(e, owner, kv) {
			continue
		}
		touched = append(touched, e)
		switch {
		case kv.ModRevision <= x.seen:
			repaired++
		case !resumed:
			x.unseen[string(kv.Key)] = kv.ModRevision
		}
	}
	missing := func(listed bool, known, since int64) bool { return !listed && known != 0 && since <= rev }
	if resumed {
		x.seen = max(x.seen, rev)
	}
	for _, e := range x.tasks {
		taskGone := missing(e.taskListed, e.submission, e.taskRev)
		ownerGone := missing(e.ownerListed, e.fence, e.ownerRev)
		e.taskListed, e.ownerListed = false, false
		if taskGone {
			x.dropTask(e, rev)
		}
		if ownerGone {
			x.setOwner(e, nil, 0, 0, rev)
		}
		if taskGone && !resumed {
			x.unseen[x.keys.task(e.id)] = rev
		}
		if ownerGone && !resumed {
			x.unseen[x.keys.owner(e.id)] = rev
		}
		if taskGone || ownerGone || e.gone() {
			touched = append(touched, e)
		}
	}
	for _, e := range bySubmission(touched) {
		x.settle(e, &fx)
	}
	x.repaired(repaired)
	return fx
}

// repaired counts keys that a list has set right.
func (x *index) repaired(n int) {
	if n > 0 {
		x.repairs += n
		x.log.Warn("the watch has missed changes that a list has told", "keys", n)
	}
}

// events takes in what the watch tells.
func (x *index) events(events []*clientv3.Event) (fx effects) {
	x.mu.Lock()
	defer x.mu.Unlock()
	touched := make([]*entry, 0, len(events))
	for _, ev := range events {
		if len(x.unseen) > 0 && ev.Kv.ModRevision <= x.unseen[string(ev.Kv.Key)] {
			delete(x.unseen, string(ev.Kv.Key))
		}
		x.seen = max(x.seen, ev.Kv.ModRevision)
		deleted := ev.Type == clientv3.EventTypeDelete
		e, owner := x.find(ev.Kv.Key, !deleted)
		switch {
		case e == nil:
			continue
		case deleted:
			x.del(e, owner, ev.Kv.ModRevision)
		case !x.put(e, owner, ev.Kv):
			continue
		}
		touched = append(touched, e)
	}
	missed := 0
	for _, key := range sortedKeys(x.unseen) {
		if x.unseen[key] > x.seen {
			continue
		}
		delete(x.unseen, key)
		missed++
		if e, _ := x.find([]byte(key), false); e != nil {
			touched = append(touched, e)
		}
	}
	x.repaired(missed)
	// Only now: a transaction or the end of a lease changes several keys of
	// one task at once.
	for _, e := range touched {
		x.settle(e, &fx)
	}
	return fx
}

// find returns the task that a key is of, and whether it is the owner's key; nil where
// the key is not ours or, unless it is to be created, there is no such task.
func (x *index) find(key []byte, create bool) (e *entry, owner bool) {
	rest, owner := bytes.CutSuffix(key[len(x.keys.tasks):], []byte(ownerSuffix))
	if plain(rest) {
		if e = x.tasks[string(rest)]; e == nil && create {
			e = x.add(string(rest))
		}
		return e, owner
	}
	id, ok := unescapeID(string(rest))
	if !ok {
		return nil, false
	}
	if e = x.tasks[id]; e == nil && create {
		e = x.add(id)
	}
	return e, owner
}

func (x *index) add(id string) *entry {
	e := &entry{id: id}
	x.tasks[id] = e
	return e
}

// known returns what is known of a task, which may be nothing.
func (x *index) known(id string) *entry {
	if e := x.tasks[id]; e != nil {
		return e
	}
	return &entry{id: id}
}

// put takes in a key as of its mod revision. It reports whether that was news.
func (x *index) put(e *entry, owner bool, kv *keyValue) (changed bool) {
	if owner {
		if kv.ModRevision <= e.ownerRev {
			return false
		}
		x.setOwner(e, x.owners.of(kv), clientv3.LeaseID(kv.Lease), kv.CreateRevision, kv.ModRevision)
		return true
	}
	if kv.ModRevision <= e.taskRev {
		return false
	}
	props, err := decodeTask(kv.Value)
	if err != nil {
		x.log.Error("skipping task", "task", e.id, "error", err)
	}
	e.submission, e.taskRev, e.props = kv.CreateRevision, kv.ModRevision, props
	e.task, e.announced = nil, false
	return true
}

func (x *index) del(e *entry, owner bool, rev int64) {
	if owner && rev >= e.ownerRev {
		x.setOwner(e, nil, 0, 0, rev)
	} else if !owner && rev >= e.taskRev {
		x.dropTask(e, rev)
	}
}

func (x *index) dropTask(e *entry, rev int64) {
	e.submission, e.taskRev, e.props = 0, rev, nil
	e.task, e.announced = nil, false
}

func (x *index) setOwner(e *entry, owner *owner, lease clientv3.LeaseID, fence, rev int64) {
	if e.fence != 0 {
		e.owner.tasks--
	}
	if fence != 0 {
		owner.tasks++
	}
	if fence != e.fence {
		e.task, e.announced = nil, false
	}
	e.owner, e.lease, e.fence, e.ownerRev = owner, lease, fence, rev
}

// settle draws the conclusions from a change of a task. An entry of nothing stays
// until the watch has caught up with it: it keeps older events out.
func (x *index) settle(e *entry, fx *effects) {
	id := e.id
	if h := x.claims[id]; h != nil && h.ending == 0 && (e.submission != h.submission || e.fence != int64(h.claim.Fence)) {
		x.stray(h)
		fx.lost = append(fx.lost, h.claim)
	}
	// Not those of an earlier Coordinator of this name: what it has left to its
	// lease may still be running.
	if e.fence != 0 && x.leases[e.lease] && !e.claiming {
		own := claimID{task: id, fence: uint64(e.fence)}
		h := x.claims[id]
		_, stray := x.strays[own]
		if !stray && (h == nil || h.id() != own) {
			fx.orphans = append(fx.orphans, metafora.Claim{TaskID: id, Node: x.name, Fence: own.fence})
		}
	}
	switch {
	case e.claimable() && !e.announced && !e.queued && !e.claiming:
		e.queued = true
		x.waiting = append(x.waiting, e)
		select {
		case x.wake <- struct{}{}:
		default:
		}
	case e.gone() && max(e.taskRev, e.ownerRev) <= x.seen:
		delete(x.tasks, id)
	}
}

// stray moves a claim from those held to those lost.
func (x *index) stray(h *holding) {
	delete(x.claims, h.claim.TaskID)
	x.strays[h.id()] = h
}

// bySubmission sorts tasks, and leaves each there once.
func bySubmission(es []*entry) []*entry {
	slices.SortFunc(es, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.submission, b.submission), strings.Compare(a.id, b.id))
	})
	return slices.Compact(es)
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	ks := make([]K, 0, len(m))
	for k := range m {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}
