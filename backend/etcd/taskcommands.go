package etcd

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// orders is the view of the pending commands of all tasks, and of who listens
// for those of this node's tasks. One watch serves them all.
type orders struct {
	keys keyspace

	mu        sync.Mutex // guards what follows; listeners are called with it held
	pending   map[string]order
	listeners map[string]*listener
}

// order is a task's pending command, whose ID is the mod revision of its key.
// Without a value it says that there was none at that revision, so that the
// watch, which lags behind claims and handled commands, cannot bring one back.
type order struct {
	rev   int64
	value []byte
}

type listener struct {
	claim   metafora.Claim
	deliver func(statemachine.Command)
	last    int64 // the revision of the command that was delivered last
}

// badOrder is a command that cannot be parsed.
type badOrder struct {
	claim metafora.Claim
	rev   int64
	err   error
}

// commandRecord is the value of a command's key.
type commandRecord struct {
	Message statemachine.Message `json:"message"`
	// Nonce tells a command from another of the same message when the reply
	// to it was lost.
	Nonce string `json:"nonce,omitempty"`
}

func newOrders(keys keyspace) *orders {
	return &orders{keys: keys, pending: make(map[string]order), listeners: make(map[string]*listener)}
}

func (o *orders) listed(kvs []*keyValue, rev int64) (bad []badOrder) {
	o.mu.Lock()
	defer o.mu.Unlock()
	listed := make(map[string]bool, len(kvs))
	for _, kv := range kvs {
		if id, ok := o.task(kv); ok {
			listed[id] = true
			o.put(id, kv)
			bad = append(bad, o.offer(id)...)
		}
	}
	for id, ord := range o.pending {
		if !listed[id] && ord.rev <= rev && ord.value != nil {
			delete(o.pending, id)
		}
	}
	return bad
}

// events offers only the last of the commands that a task got, so that a node
// which catches up does not act on what was replaced.
func (o *orders) events(events []*clientv3.Event) (bad []badOrder) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, ev := range events {
		id, ok := o.task(ev.Kv)
		switch {
		case !ok:
		case ev.Type == clientv3.EventTypePut:
			o.put(id, ev.Kv)
		case ev.Kv.ModRevision > o.pending[id].rev:
			delete(o.pending, id)
		}
	}
	for _, ev := range events {
		if id, ok := o.task(ev.Kv); ok {
			bad = append(bad, o.offer(id)...)
		}
	}
	return bad
}

// task returns the ID of the task that a key is the command of.
func (o *orders) task(kv *keyValue) (id string, ok bool) {
	return unescapeID(string(kv.Key[len(o.keys.commands):]))
}

func (o *orders) put(id string, kv *keyValue) {
	if kv.ModRevision > o.pending[id].rev {
		o.pending[id] = order{rev: kv.ModRevision, value: valueOf(kv)}
	}
}

// offer delivers the pending command of a task to its listener, once.
func (o *orders) offer(id string) []badOrder {
	ord, ok := o.pending[id]
	l := o.listeners[id]
	if !ok || ord.value == nil || l == nil || ord.rev <= l.last {
		return nil
	}
	l.last = ord.rev
	var rec commandRecord
	err := json.Unmarshal(ord.value, &rec)
	if err == nil {
		err = rec.Message.Valid()
	}
	if err != nil {
		return []badOrder{{claim: l.claim, rev: ord.rev, err: err}}
	}
	l.deliver(statemachine.Command{ID: uint64(ord.rev), Message: rec.Message})
	return nil
}

func (o *orders) listen(l *listener) []badOrder {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.listeners[l.claim.TaskID] = l
	return o.offer(l.claim.TaskID)
}

func (o *orders) unlisten(l *listener) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.listeners[l.claim.TaskID] == l {
		delete(o.listeners, l.claim.TaskID)
	}
}

// claimed takes in the command of a task, nil if it has none, as it was when this
// node owned it at a revision. An earlier owner may have handled what the watch
// still tells.
func (o *orders) claimed(id string, kv *keyValue, rev int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if kv != nil {
		rev = kv.ModRevision
	}
	if rev < o.pending[id].rev {
		return
	}
	o.pending[id] = order{rev: rev, value: valueOf(kv)}
}

// handled notes that a command was removed from etcd, unless a newer one has
// come.
func (o *orders) handled(id string, cmd uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if ord := o.pending[id]; ord.rev <= int64(cmd) {
		o.pending[id] = order{rev: int64(cmd)}
	}
}

// forget drops what only a claim of the task needed.
func (o *orders) forget(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if ord, ok := o.pending[id]; ok && ord.value == nil {
		delete(o.pending, id)
	}
}

// discard removes the commands that nobody can handle.
func (c *Coordinator) discard(bad []badOrder) {
	for _, b := range bad {
		c.log.Error("dropping task command", "task", b.claim.TaskID, "error", b.err)
		c.commits.start(c.handledOp(b.claim, uint64(b.rev)))
	}
}

// CommandListener returns the listener for the commands of this node's tasks.
// Like StateStore, call it before the Consumer runs.
func (c *Coordinator) CommandListener() statemachine.CommandListener {
	c.stateful.Store(true)
	return commandListener{c}
}

type commandListener struct{ c *Coordinator }

var _ statemachine.CommandCaller = commandListener{}

// Listen implements statemachine.CommandListener.
func (cl commandListener) Listen(claim metafora.Claim) (<-chan statemachine.Command, func()) {
	return statemachine.CommandChannel(func(deliver func(statemachine.Command)) func() {
		return cl.ListenFunc(claim, deliver)
	})
}

// ListenFunc implements statemachine.CommandCaller.
func (cl commandListener) ListenFunc(claim metafora.Claim, deliver func(statemachine.Command)) (stop func()) {
	l := &listener{claim: claim, deliver: deliver}
	cl.c.discard(cl.c.orders.listen(l))
	return func() { cl.c.orders.unlisten(l) }
}

// Handled implements statemachine.CommandListener.
func (cl commandListener) Handled(ctx context.Context, claim metafora.Claim, id uint64) error {
	c := cl.c
	err := c.usable(ctx)
	if err == nil {
		_, err = c.tasks.held(claim)
	}
	if err == nil {
		out := c.commits.do(ctx, c.handledOp(claim, id))
		err = out.err
		if err == nil && !out.held {
			err = metafora.ErrNotOwner
		}
	}
	if err != nil {
		return fmt.Errorf("command of %q: %w", claim.TaskID, err)
	}
	c.orders.handled(claim.TaskID, id)
	return nil
}

func (c *Coordinator) handledOp(claim metafora.Claim, id uint64) op {
	return op{
		id:   claim.TaskID,
		cmps: []clientv3.Cmp{c.owns(claim)},
		then: []clientv3.Op{c.removeCommand(claim.TaskID, id)},
	}
}

// removeCommand removes a task's command unless a newer one has replaced it.
func (c *Coordinator) removeCommand(task string, id uint64) clientv3.Op {
	key := c.keys.command(task)
	return clientv3.OpTxn(
		[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", int64(id))},
		[]clientv3.Op{clientv3.OpDelete(key)}, nil)
}

// Send implements statemachine.Commander.
func (c *Client) Send(ctx context.Context, taskID string, m statemachine.Message) error {
	err := metafora.ValidateID(taskID)
	if err == nil {
		err = m.Valid()
	}
	if err != nil {
		return fmt.Errorf("command for %q: %w", taskID, err)
	}
	nonce := c.nonce()
	value := encode(commandRecord{Message: m, Nonce: nonce})
	if len(value) > metafora.MaxCommandLen {
		return fmt.Errorf("command for %q: %w: %d bytes, the limit is %d", taskID, metafora.ErrTooLarge, len(value), metafora.MaxCommandLen)
	}
	task, key := c.keys.task(taskID), c.keys.command(taskID)
	err = c.write(ctx, write{
		id: taskID, key: key, value: value,
		cmps:    []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(task), ">", 0)},
		refused: metafora.ErrNoTask,
	})
	if err != nil {
		return fmt.Errorf("command for %q: %w", taskID, err)
	}
	return nil
}
