package memory

import (
	"context"
	"fmt"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// StateStore returns the store for the states of this node's tasks.
func (c *Coordinator) StateStore() statemachine.StateStore { return stateStore{c} }

type stateStore struct{ c *Coordinator }

// Load implements [statemachine.StateStore].
func (s stateStore) Load(ctx context.Context, claim metafora.Claim) (statemachine.State, error) {
	var state statemachine.State
	err := s.c.withClaim(ctx, claim, func(*ownership) (err error) {
		state, err = s.c.broker.state(claim.TaskID)
		return err
	})
	if err != nil {
		return statemachine.State{}, fmt.Errorf("load state of %v: %w", claim, err)
	}
	return state, nil
}

// Store implements [statemachine.StateStore].
func (s stateStore) Store(ctx context.Context, claim metafora.Claim, state statemachine.State, handled uint64) error {
	value, err := encodeState(state)
	if err == nil {
		err = s.c.withClaim(ctx, claim, func(o *ownership) error {
			b := s.c.broker
			b.write()
			b.putState(claim.TaskID, value)
			b.commandHandled(o.task, handled)
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("store state of %v: %w", claim, err)
	}
	return nil
}

// State returns the stored state of a task, which outlives the task until its
// ID is submitted anew. The error wraps [statemachine.ErrNoState] or
// [statemachine.ErrCorruptState] where there is none to return.
func (cl *Client) State(ctx context.Context, id string) (statemachine.State, error) {
	if err := cl.enter(ctx); err != nil {
		return statemachine.State{}, fmt.Errorf("state of task %q: %w", id, err)
	}
	defer cl.broker.unlock()
	state, err := cl.broker.state(id)
	if err != nil {
		return statemachine.State{}, fmt.Errorf("state of task %q: %w", id, err)
	}
	return state, nil
}

func (b *Broker) putState(id string, value []byte) {
	b.states[id] = value
	b.changed(Change{Kind: StateChange, ID: id, Value: value})
}

func (b *Broker) state(id string) (statemachine.State, error) {
	value, ok := b.states[id]
	if !ok {
		return statemachine.State{}, statemachine.ErrNoState
	}
	return statemachine.DecodeState(value)
}

func encodeState(s statemachine.State) ([]byte, error) {
	value, err := statemachine.EncodeState(s)
	if err != nil {
		return nil, err
	}
	if len(value) > maxValue {
		return nil, fmt.Errorf("%w: the state has %d bytes, the limit is %d", metafora.ErrTooLarge, len(value), maxValue)
	}
	return value, nil
}
