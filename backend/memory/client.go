package memory

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/metafora-go/metafora"
)

// maxValue is the size limit of stored properties and states, in bytes.
const maxValue = 1 << 20

// Client implements [metafora.Client] and [statemachine.Commander]. Faults of
// nodes do not concern it.
type Client struct{ broker *Broker }

var _ metafora.Client = (*Client)(nil)

// SubmitTask implements [metafora.Client].
func (cl *Client) SubmitTask(ctx context.Context, t metafora.Task) error {
	props, err := encodeProps(t)
	if err != nil {
		return fmt.Errorf("submit: %w", err)
	}
	if err := cl.submit(ctx, t.ID(), props); err != nil {
		return fmt.Errorf("submit task %q: %w", t.ID(), err)
	}
	return nil
}

func (cl *Client) submit(ctx context.Context, id string, props []byte) error {
	if err := cl.enter(ctx); err != nil {
		return err
	}
	defer cl.broker.unlock()
	if cl.broker.tasks[id] != nil {
		return metafora.ErrTaskExists
	}
	cl.broker.submit(id, props)
	return nil
}

// SubmitTasks implements [metafora.Client].
func (cl *Client) SubmitTasks(ctx context.Context, ts []metafora.Task) error {
	values, err := encodeAll(ts)
	if err != nil {
		return err
	}
	var errs []error
	for i, t := range ts {
		if err := cl.submit(ctx, t.ID(), values[i]); err != nil {
			errs = append(errs, fmt.Errorf("submit task %q: %w", t.ID(), err))
		}
	}
	return errors.Join(errs...)
}

// encodeAll returns the properties of all tasks, or all that is wrong with them.
func encodeAll(ts []metafora.Task) ([][]byte, error) {
	var errs []error
	values := make([][]byte, len(ts))
	listed := make(map[string]bool, len(ts))
	for i, t := range ts {
		props, err := encodeProps(t)
		if err != nil {
			errs = append(errs, fmt.Errorf("submit: %w", err))
			continue
		}
		if listed[t.ID()] {
			errs = append(errs, fmt.Errorf("submit task %q: listed twice: %w", t.ID(), metafora.ErrTaskExists))
		}
		listed[t.ID()] = true
		values[i] = props
	}
	return values, errors.Join(errs...)
}

func encodeProps(t metafora.Task) ([]byte, error) {
	props, err := metafora.EncodeProps(t)
	if err != nil {
		return nil, err
	}
	if len(props) > maxValue {
		return nil, fmt.Errorf("task %q: %w: the properties have %d bytes, the limit is %d", t.ID(), metafora.ErrTooLarge, len(props), maxValue)
	}
	return props, nil
}

// DeleteTask implements [metafora.Client].
func (cl *Client) DeleteTask(ctx context.Context, id string) error {
	if err := cl.deleteTask(ctx, id); err != nil {
		return fmt.Errorf("delete task %q: %w", id, err)
	}
	return nil
}

func (cl *Client) deleteTask(ctx context.Context, id string) error {
	if err := cl.enter(ctx); err != nil {
		return err
	}
	b := cl.broker
	defer b.unlock()
	t := b.tasks[id]
	if t == nil {
		return metafora.ErrNoTask
	}
	owner := t.owner
	b.remove(t)
	if owner != nil {
		b.tellHolder(owner)
	}
	return nil
}

// SubmitCommand implements [metafora.Client].
func (cl *Client) SubmitCommand(ctx context.Context, node string, c metafora.Command) error {
	if err := cl.submitCommand(ctx, node, c); err != nil {
		return fmt.Errorf("send command to node %q: %w", node, err)
	}
	return nil
}

func (cl *Client) submitCommand(ctx context.Context, node string, c metafora.Command) error {
	value, err := metafora.EncodeCommand(c)
	if err != nil {
		return err
	}
	if err := cl.enter(ctx); err != nil {
		return err
	}
	defer cl.broker.unlock()
	if cl.broker.cluster.nodes[node] == nil {
		return metafora.ErrNoNode
	}
	cl.broker.leaveCommand(node, value)
	return nil
}

// Nodes implements [metafora.Client].
func (cl *Client) Nodes(ctx context.Context) ([]metafora.Node, error) {
	if err := cl.enter(ctx); err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	defer cl.broker.unlock()
	nodes := slices.Clone(cl.broker.cluster.list())
	for i := range nodes {
		nodes[i].Labels = maps.Clone(nodes[i].Labels)
	}
	return nodes, nil
}

// Tasks implements [metafora.Client].
func (cl *Client) Tasks(ctx context.Context) ([]metafora.TaskInfo, error) {
	if err := cl.enter(ctx); err != nil {
		return nil, fmt.Errorf("list tasks: %w", err)
	}
	defer cl.broker.unlock()
	infos := make([]metafora.TaskInfo, 0, len(cl.broker.tasks))
	for _, t := range cl.broker.tasks {
		infos = append(infos, t.info())
	}
	slices.SortFunc(infos, func(a, b metafora.TaskInfo) int { return cmp.Compare(a.ID, b.ID) })
	return infos, nil
}

// Task implements [metafora.Client].
func (cl *Client) Task(ctx context.Context, id string) (metafora.TaskInfo, error) {
	if err := cl.enter(ctx); err != nil {
		return metafora.TaskInfo{}, fmt.Errorf("look up task %q: %w", id, err)
	}
	defer cl.broker.unlock()
	t := cl.broker.tasks[id]
	if t == nil {
		return metafora.TaskInfo{}, fmt.Errorf("look up task %q: %w", id, metafora.ErrNoTask)
	}
	return t.info(), nil
}

// info leaves properties out that are no JSON: see PutRawTask.
func (t *task) info() metafora.TaskInfo {
	info := metafora.TaskInfo{ID: t.id}
	if json.Valid(t.props) {
		info.Props = slices.Clone(t.props)
	}
	if t.owner != nil {
		info.Owner, info.Fence = t.owner.claim.Node, t.owner.claim.Fence
	}
	return info
}

// enter returns with the broker's lock held, unless ctx has ended.
func (cl *Client) enter(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	cl.broker.lock()
	return nil
}
