package etcd

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
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
	counts  map[string]int            // tasks by owner
	owners  map[string]string         // the owners that values of their keys name
	waiting []string                  // to be announced, in order
	leases  map[clientv3.LeaseID]bool // granted to this node since it started
	seen    int64                     // up to which the watch has told everything
	// unseen is what a list has told and the watch has yet to tell: keys, and
	// the revision as of which the list knew.
	unseen  map[string]int64
	repairs int
}

// entry is a task: submission and props as of revision taskRev, owner as of
// ownerRev.
type entry struct {
	submission int64 // the create revision of the task's key, 0 without one
	taskRev    int64
	props      []byte // nil when what is stored is malformed
	owner      string
	fence      int64 // the create revision of the owner's key, 0 without one
	lease      clientv3.LeaseID
	ownerRev   int64

	task      metafora.Task // as last announced, until it is claimed
	announced bool          // since it became claimable
	queued    bool          // in waiting
	claiming  bool          // a claim of ours is under way
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
		counts: make(map[string]int),
		owners: make(map[string]string),
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
	listed := make(map[string]struct{}, len(kvs))
	var touched []string
	for _, kv := range kvs {
		key := string(kv.Key)
		listed[key] = struct{}{}
		id, changed := x.put(key, kv)
		if !changed {
			continue
		}
		touched = append(touched, id)
		switch {
		case kv.ModRevision <= x.seen:
			repaired++
		case !resumed:
			x.unseen[key] = kv.ModRevision
		}
	}
	missing := func(key string, known, since int64) bool {
		_, ok := listed[key]
		if ok || known == 0 || since > rev {
			return false
		}
		if !resumed {
			x.unseen[key] = rev
		}
		return true
	}
	if resumed {
		x.seen = max(x.seen, rev)
	}
	for id, e := range x.tasks {
		taskGone := missing(x.keys.task(id), e.submission, e.taskRev)
		ownerGone := missing(x.keys.owner(id), e.fence, e.ownerRev)
		if taskGone {
			x.dropTask(e, rev)
		}
		if ownerGone {
			x.setOwner(e, "", 0, 0, rev)
		}
		if taskGone || ownerGone || e.gone() {
			touched = append(touched, id)
		}
	}
	for _, id := range x.bySubmission(touched) {
		x.settle(id, &fx)
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
	touched := make([]string, 0, len(events))
	for _, ev := range events {
		key := string(ev.Kv.Key)
		if ev.Kv.ModRevision <= x.unseen[key] {
			delete(x.unseen, key)
		}
		var id string
		var ok bool
		if ev.Type == clientv3.EventTypeDelete {
			id, ok = x.del(key, ev.Kv.ModRevision)
		} else {
			id, ok = x.put(key, ev.Kv)
		}
		if ok {
			touched = append(touched, id)
		}
		x.seen = max(x.seen, ev.Kv.ModRevision)
	}
	missed := 0
	for _, key := range sortedKeys(x.unseen) {
		if x.unseen[key] > x.seen {
			continue
		}
		delete(x.unseen, key)
		missed++
		if id, _, ok := x.keys.parseTask(key); ok {
			touched = append(touched, id)
		}
	}
	x.repaired(missed)
	// Only now: a transaction or the end of a lease changes several keys of
	// one task at once.
	for _, id := range touched {
		x.settle(id, &fx)
	}
	return fx
}

// put takes in a key as of its mod revision. It reports whether that was news.
func (x *index) put(key string, kv *keyValue) (id string, changed bool) {
	id, owner, ok := x.keys.parseTask(key)
	if !ok {
		return "", false
	}
	e := x.tasks[id]
	if e == nil {
		e = &entry{}
		x.tasks[id] = e
	}
	if owner {
		if kv.ModRevision <= e.ownerRev {
			return id, false
		}
		x.setOwner(e, x.ownerOf(kv), clientv3.LeaseID(kv.Lease), kv.CreateRevision, kv.ModRevision)
		return id, true
	}
	if kv.ModRevision <= e.taskRev {
		return id, false
	}
	rec, err := decodeTask(kv.Value)
	if err != nil {
		x.log.Error("skipping task", "task", id, "error", err)
	}
	e.submission, e.taskRev, e.props = kv.CreateRevision, kv.ModRevision, rec.Props
	e.task, e.announced = nil, false
	return id, true
}

// maxOwners bounds how many values are remembered: each node writes one.
const maxOwners = 10_000

// ownerOf decodes an owner's key. There are as many values as there are nodes,
// not as many as tasks.
func (x *index) ownerOf(kv *keyValue) string {
	if owner, ok := x.owners[string(kv.Value)]; ok {
		return owner
	}
	if len(x.owners) == maxOwners {
		clear(x.owners)
	}
	owner := decodeOwner(kv.Value)
	x.owners[string(kv.Value)] = owner
	return owner
}

func (x *index) del(key string, rev int64) (id string, ok bool) {
	id, owner, ok := x.keys.parseTask(key)
	e := x.tasks[id]
	if !ok || e == nil {
		return "", false
	}
	if owner && rev >= e.ownerRev {
		x.setOwner(e, "", 0, 0, rev)
	} else if !owner && rev >= e.taskRev {
		x.dropTask(e, rev)
	}
	return id, true
}

func (x *index) dropTask(e *entry, rev int64) {
	e.submission, e.taskRev, e.props = 0, rev, nil
	e.task, e.announced = nil, false
}

func (x *index) setOwner(e *entry, owner string, lease clientv3.LeaseID, fence, rev int64) {
	if e.fence != 0 {
		if x.counts[e.owner]--; x.counts[e.owner] == 0 {
			delete(x.counts, e.owner)
		}
	}
	if fence != 0 {
		x.counts[owner]++
	}
	if fence != e.fence {
		e.task, e.announced = nil, false
	}
	e.owner, e.lease, e.fence, e.ownerRev = owner, lease, fence, rev
}

// settle draws the conclusions from a change of a task. An entry of nothing stays
// until the watch has caught up with it: it keeps older events out.
func (x *index) settle(id string, fx *effects) {
	e := x.tasks[id]
	if h := x.claims[id]; h != nil && h.ending == 0 && (e == nil || e.submission != h.submission || e.fence != int64(h.claim.Fence)) {
		x.stray(h)
		fx.lost = append(fx.lost, h.claim)
	}
	if e == nil {
		return
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
		x.waiting = append(x.waiting, id)
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

// nextWaiting takes the next task to announce off the queue.
func (x *index) nextWaiting() (id string, props []byte, submission int64, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(x.waiting) > 0 {
		id, x.waiting = x.waiting[0], x.waiting[1:]
		e := x.tasks[id]
		if e == nil || !e.queued {
			continue
		}
		e.queued = false
		if e.claimable() && !e.announced && !e.claiming {
			return id, e.props, e.submission, true
		}
	}
	x.waiting = nil
	return "", nil, 0, false
}

// announceAll queues what an earlier Watch has announced and is still claimable.
func (x *index) announceAll() {
	x.mu.Lock()
	defer x.mu.Unlock()
	var ids []string
	for id, e := range x.tasks {
		if e.claimable() && e.announced {
			ids = append(ids, id)
		}
	}
	var none effects
	for _, id := range x.bySubmission(ids) {
		x.tasks[id].announced = false
		x.settle(id, &none)
	}
}

// bySubmission sorts the IDs of tasks.
func (x *index) bySubmission(ids []string) []string {
	submission := func(id string) int64 {
		if e := x.tasks[id]; e != nil {
			return e.submission
		}
		return 0
	}
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(cmp.Compare(submission(a), submission(b)), cmp.Compare(a, b))
	})
	return slices.Compact(ids)
}

// setAnnounced notes that t is about to be announced, or with a nil t that the
// TaskFunc refused it. It reports false if things have changed since nextWaiting.
func (x *index) setAnnounced(id string, submission int64, t metafora.Task) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.tasks[id]
	if e == nil || e.submission != submission || !e.claimable() {
		return false
	}
	e.task, e.announced = t, true
	return true
}

// unannounce puts a task whose announcement was not received back in front.
func (x *index) unannounce(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e := x.tasks[id]; e != nil && e.claimable() && e.announced && !e.queued {
		e.announced, e.queued = false, true
		x.waiting = slices.Insert(x.waiting, 0, id)
	}
}

func (x *index) claimable(id string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e := x.tasks[id]
	return e != nil && e.claimable() && !e.claiming
}

// beginClaim checks a claim against what is known and returns the submission
// that it is for. decode makes a fresh task of stored properties.
func (x *index) beginClaim(t metafora.Task, decode func(id string, props []byte) (metafora.Task, error)) (int64, error) {
	id := t.ID()
	x.mu.Lock()
	e := x.tasks[id]
	if e == nil || !e.claimable() || e.claiming {
		defer x.mu.Unlock()
		if e == nil || e.submission == 0 || e.props == nil {
			return 0, metafora.ErrNoTask
		}
		return 0, metafora.ErrClaimed
	}
	announced, submission, props := e.task != nil, e.submission, e.props
	if sameTask(e.task, t) {
		e.claiming = true
		x.mu.Unlock()
		return submission, nil
	}
	x.mu.Unlock()

	// t was announced for an earlier submission, or before the task was claimed
	// and released by others. Either way it may only be claimed if it is what
	// the task is now.
	if announced {
		return 0, fmt.Errorf("%w: submitted or released again since it was announced", metafora.ErrNoTask)
	}
	fresh, err := decode(id, props)
	if err != nil || !reflect.DeepEqual(fresh, t) {
		return 0, fmt.Errorf("%w: differs from the one announced", metafora.ErrNoTask)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	switch e := x.tasks[id]; {
	case e == nil || e.submission != submission:
		return 0, metafora.ErrNoTask
	case !e.claimable() || e.claiming:
		return 0, metafora.ErrClaimed
	default:
		e.claiming = true
		return submission, nil
	}
}

// sameTask reports whether a and b are one task object, or values that cannot
// be told apart.
func sameTask(a, b metafora.Task) bool {
	if a == nil || reflect.TypeOf(a) != reflect.TypeOf(b) {
		return false
	}
	if reflect.ValueOf(a).Comparable() {
		return a == b
	}
	return reflect.DeepEqual(a, b)
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	ks := make([]K, 0, len(m))
	for k := range m {
		ks = append(ks, k)
	}
	slices.Sort(ks)
	return ks
}
