package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// fetchedState is a stored state that came with a claim: nil for none.
type fetchedState []byte

// prefetchOps fetch the state and the pending command of a task along with a
// claim, as its second and third reply.
func (c *Coordinator) prefetchOps(id string) []clientv3.Op {
	if !c.stateful.Load() {
		return nil
	}
	return []clientv3.Op{clientv3.OpGet(c.keys.stateOf(id)), clientv3.OpGet(c.keys.command(id))}
}

// prefetched takes in the replies to prefetchOps.
func (c *Coordinator) prefetched(h *holding, out outcome) {
	if len(out.replies) < 3 {
		return
	}
	c.orders.claimed(h.claim.TaskID, out.kv(2), out.rev)
	kv := out.kv(1)
	state := fetchedState(valueOf(kv))
	h.stateRev, h.fetched = kv.GetModRevision(), &state
}

// StateStore returns the store of the states of this node's tasks. From then on
// each claim fetches the task's state along with it, so that loading it costs no
// request: call StateStore before the Consumer runs.
func (c *Coordinator) StateStore() statemachine.StateStore {
	c.stateful.Store(true)
	return stateStore{c}
}

type stateStore struct{ c *Coordinator }

// Load implements statemachine.StateStore.
func (s stateStore) Load(ctx context.Context, claim metafora.Claim) (statemachine.State, error) {
	value, err := s.c.loadState(ctx, claim)
	if err != nil {
		return statemachine.State{}, fmt.Errorf("state of %q: %w", claim.TaskID, err)
	}
	return decodeState(claim.TaskID, value)
}

func decodeState(id string, value []byte) (statemachine.State, error) {
	if value == nil {
		return statemachine.State{}, fmt.Errorf("state of %q: %w", id, statemachine.ErrNoState)
	}
	st, err := statemachine.DecodeState(value)
	if err != nil {
		return statemachine.State{}, fmt.Errorf("state of %q: %w", id, err)
	}
	return st, nil
}

func (c *Coordinator) loadState(ctx context.Context, claim metafora.Claim) ([]byte, error) {
	if err := c.usable(ctx); err != nil {
		return nil, err
	}
	h, err := c.tasks.held(claim)
	if err != nil {
		return nil, err
	}
	if value, ok := c.tasks.takeState(h); ok {
		return value, nil
	}
	out := c.commits.do(ctx, op{
		id:   claim.TaskID,
		cmps: []clientv3.Cmp{c.owns(claim)},
		then: []clientv3.Op{clientv3.OpGet(c.keys.stateOf(claim.TaskID))},
	})
	if out.err != nil {
		return nil, out.err
	}
	if !out.held {
		return nil, metafora.ErrNotOwner
	}
	kv := out.kv(0)
	c.tasks.setStateRev(h, kv.GetModRevision())
	return valueOf(kv), nil
}

// valueOf returns the value of a key, which may be empty, or nil without a key.
func valueOf(kv *keyValue) []byte {
	if kv == nil {
		return nil
	}
	if kv.Value == nil {
		return []byte{}
	}
	return kv.Value
}

// Store implements statemachine.StateStore. The write compares the revision of
// the stored state as well as the claim: an attempt that was given up cannot
// overwrite a later one of the same claim when it takes effect late.
func (s stateStore) Store(ctx context.Context, claim metafora.Claim, st statemachine.State, handled uint64) error {
	value, err := statemachine.EncodeState(st)
	if err != nil {
		return fmt.Errorf("state of %q: %w", claim.TaskID, err)
	}
	if len(value) > maxValueBytes {
		return fmt.Errorf("state of %q: %w: %d bytes, the limit is %d", claim.TaskID, metafora.ErrTooLarge, len(value), maxValueBytes)
	}
	if err := s.c.storeState(ctx, claim, value, handled); err != nil {
		return fmt.Errorf("state of %q: %w", claim.TaskID, err)
	}
	return nil
}

func (c *Coordinator) storeState(ctx context.Context, claim metafora.Claim, value []byte, handled uint64) error {
	if err := c.usable(ctx); err != nil {
		return err
	}
	h, err := c.tasks.held(claim)
	if err != nil {
		return err
	}
	owner, key := c.keys.owner(claim.TaskID), c.keys.stateOf(claim.TaskID)
	for uncertain := false; ; {
		rev := c.tasks.stateRev(h)
		o := op{
			id: claim.TaskID,
			cmps: []clientv3.Cmp{
				c.owns(claim),
				clientv3.Compare(clientv3.ModRevision(key), "=", rev),
			},
			then: []clientv3.Op{clientv3.OpPut(key, string(value))},
			els:  []clientv3.Op{clientv3.OpGet(owner), clientv3.OpGet(key)},
		}
		if handled != 0 {
			o.then = append(o.then, c.removeCommand(claim.TaskID, handled))
		}
		out := c.commits.do(ctx, o)
		if out.err != nil {
			return out.err
		}
		if out.held {
			c.tasks.setStateRev(h, out.rev)
			break
		}
		uncertain = uncertain || out.uncertain
		current, stored := out.kv(0), out.kv(1)
		if current == nil || current.CreateRevision != int64(claim.Fence) {
			return metafora.ErrNotOwner
		}
		c.tasks.setStateRev(h, stored.GetModRevision())
		if uncertain && stored != nil && bytes.Equal(stored.Value, value) {
			break // an earlier attempt, whose reply was lost, did it
		}
	}
	if handled != 0 {
		c.orders.handled(claim.TaskID, handled)
	}
	return nil
}

// State returns the stored state of a task, whoever runs it. The error wraps
// statemachine.ErrNoState where there is none.
func (c *Client) State(ctx context.Context, id string) (statemachine.State, error) {
	if err := metafora.ValidateID(id); err != nil {
		return statemachine.State{}, err
	}
	resp, err := c.get(ctx, c.keys.stateOf(id))
	if err != nil {
		return statemachine.State{}, fmt.Errorf("state of %q: %w", id, err)
	}
	if len(resp.Kvs) == 0 {
		return decodeState(id, nil)
	}
	return decodeState(id, valueOf(resp.Kvs[0]))
}

// statesAtOnce is how many states one request asks for.
const statesAtOnce = 100

// States returns the stored states of the tasks with the given IDs, those that have
// one. A state that cannot be parsed is returned as a fault that says so, which is
// what the Machine of the task takes it for.
func (c *Client) States(ctx context.Context, ids []string) (map[string]statemachine.State, error) {
	states := make(map[string]statemachine.State)
	for some := range slices.Chunk(ids, statesAtOnce) {
		if err := c.addStates(ctx, some, states); err != nil {
			return nil, fmt.Errorf("states of %q and %d others: %w", some[0], len(some)-1, err)
		}
	}
	return states, nil
}

func (c *Client) addStates(ctx context.Context, ids []string, states map[string]statemachine.State) error {
	gets := make([]clientv3.Op, len(ids))
	for i, id := range ids {
		if err := metafora.ValidateID(id); err != nil {
			return err
		}
		gets[i] = clientv3.OpGet(c.keys.stateOf(id))
	}
	rctx, cancel := context.WithTimeout(ctx, c.opts.RequestTimeout)
	defer cancel()
	resp, err := c.conn.Txn(rctx).Then(gets...).Commit()
	if err != nil {
		return err
	}
	for i, r := range resp.Responses {
		kvs := r.GetResponseRange().GetKvs()
		if len(kvs) == 0 {
			continue
		}
		state, err := decodeState(ids[i], valueOf(kvs[0]))
		if err != nil {
			state = statemachine.State{
				Code:   statemachine.Fault,
				Errors: []statemachine.TaskError{{Error: err.Error()}},
			}
		}
		states[ids[i]] = state
	}
	return nil
}

// held finds the holding of a claim that is not known to be lost.
func (x *index) held(claim metafora.Claim) (*holding, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	h := x.claims[claim.TaskID]
	if h == nil || h.claim != claim {
		return nil, metafora.ErrNotOwner
	}
	if err := h.session.alive(); err != nil {
		return nil, errors.Join(metafora.ErrNotOwner, err)
	}
	return h, nil
}

// takeState returns what was fetched with the claim, once.
func (x *index) takeState(h *holding) (value []byte, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if h.fetched == nil {
		return nil, false
	}
	value, h.fetched = *h.fetched, nil
	return value, true
}

func (x *index) stateRev(h *holding) int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return h.stateRev
}

// setStateRev notes the revision of the stored state, 0 without one.
func (x *index) setStateRev(h *holding, rev int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	h.stateRev, h.fetched = rev, nil
}
