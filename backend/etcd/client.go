package etcd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// Client submits tasks and commands, and implements metafora.Client and
// statemachine.Commander. It joins no cluster. It is safe for concurrent use;
// concurrent submissions share transactions.
type Client struct {
	conn    Conn
	keys    keyspace
	opts    Options
	commits *committer
}

var (
	_ metafora.Client        = (*Client)(nil)
	_ statemachine.Commander = (*Client)(nil)
)

// NewClient returns a Client of a namespace; of the Options only Namespace,
// RequestTimeout and Rand matter. conn stays the caller's. A Client without
// calls under way has nothing to close.
func NewClient(conn Conn, o Options) (*Client, error) {
	o, keys, err := o.resolve(conn)
	if err != nil {
		return nil, err
	}
	return &Client{conn: conn, keys: keys, opts: o, commits: newCommitter(conn, o, 4, &counters{})}, nil
}

// nonce marks a value, so that reading it back tells whose it is.
func (c *Client) nonce() string {
	const mantissa = 1 << 53
	return fmt.Sprintf("%014x%014x", uint64(c.opts.Rand()*mantissa), uint64(c.opts.Rand()*mantissa))
}

// write is a value that is to be written once.
type write struct {
	id, key, value string // value holds a nonce
	cmps           []clientv3.Cmp
	also           []clientv3.Op
	refused        error // when the cmps do not hold
}

// write carries w out. When the reply is lost it reads the key back: the value is
// there, or something else is, or else nobody can tell and w is not repeated, for
// what it caused may be over already.
func (c *Client) write(ctx context.Context, w write) error {
	out := c.commits.do(ctx, op{
		id:   w.id,
		cmps: w.cmps,
		then: append([]clientv3.Op{clientv3.OpPut(w.key, w.value)}, w.also...),
		once: true,
	})
	switch {
	case out.held:
		return nil
	case out.err == nil:
		return w.refused
	case !out.uncertain || errors.Is(out.err, metafora.ErrUncertain):
		return out.err
	}
	resp, err := c.get(ctx, w.key)
	if err == nil && len(resp.Kvs) > 0 && string(resp.Kvs[0].Value) == w.value {
		return nil
	}
	if err == nil && len(resp.Kvs) > 0 && errors.Is(w.refused, metafora.ErrTaskExists) {
		// Should that one go soon, w may still be on its way.
		return fmt.Errorf("%w: %w: %w", w.refused, metafora.ErrUncertain, out.err)
	}
	return fmt.Errorf("%w: %w", metafora.ErrUncertain, out.err)
}

// read asks again and again while etcd does not answer, until ctx ends.
func (c *Client) read(ctx context.Context, ask func(ctx context.Context) error) error {
	for failures := 1; ; failures++ {
		rctx, cancel := context.WithTimeout(ctx, c.opts.RequestTimeout)
		err := ask(rctx)
		cancel()
		if err == nil || refusedByServer(err) || ctx.Err() != nil {
			return err
		}
		if sleep(ctx, c.opts.jitter(backoff(failures))) != nil {
			return err
		}
	}
}

func (c *Client) get(ctx context.Context, key string, opts ...clientv3.OpOption) (resp *clientv3.GetResponse, err error) {
	err = c.read(ctx, func(ctx context.Context) (err error) {
		resp, err = c.conn.Get(ctx, key, opts...)
		return err
	})
	return resp, err
}

// SubmitTask implements metafora.Client.
func (c *Client) SubmitTask(ctx context.Context, t metafora.Task) error {
	w, err := c.submission(t)
	if err != nil {
		return err
	}
	return c.submit(ctx, w)
}

func (c *Client) submit(ctx context.Context, w write) error {
	if err := c.write(ctx, w); err != nil {
		return fmt.Errorf("submit %q: %w", w.id, err)
	}
	return nil
}

// submission stores a task if there is none of its ID, and removes what an
// earlier one has left behind.
func (c *Client) submission(t metafora.Task) (write, error) {
	props, err := metafora.EncodeProps(t)
	if err != nil {
		return write{}, fmt.Errorf("submit: %w", err)
	}
	id := t.ID()
	key := c.keys.task(id)
	value := encode(taskRecord{Props: props, Submission: c.nonce()})
	if len(value) > maxValueBytes {
		return write{}, fmt.Errorf("submit %q: %w: %d bytes, the limit is %d", id, metafora.ErrTooLarge, len(value), maxValueBytes)
	}
	return write{
		id: id, key: key, value: value,
		cmps:    []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", 0)},
		also:    []clientv3.Op{clientv3.OpDelete(c.keys.stateOf(id)), clientv3.OpDelete(c.keys.command(id))},
		refused: metafora.ErrTaskExists,
	}, nil
}

// submitting is how many tasks of one SubmitTasks are under way at once: enough
// to fill the transactions under way and the next ones.
const submitting = 8 * maxTxnOps

// SubmitTasks implements metafora.Client.
func (c *Client) SubmitTasks(ctx context.Context, ts []metafora.Task) error {
	writes := make([]write, 0, len(ts))
	var invalid []error
	seen := make(map[string]bool, len(ts))
	for _, t := range ts {
		w, err := c.submission(t)
		if err == nil && seen[w.id] {
			err = fmt.Errorf("submit %q: %w: listed twice", w.id, metafora.ErrTaskExists)
		}
		if err != nil {
			invalid = append(invalid, err)
			continue
		}
		seen[w.id] = true
		writes = append(writes, w)
	}
	if len(invalid) > 0 {
		return errors.Join(invalid...)
	}
	errs := make([]error, len(writes))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(submitting, len(writes)) {
		wg.Go(func() {
			for i := range next {
				errs[i] = c.submit(ctx, writes[i])
			}
		})
	}
	for i := range writes {
		next <- i
	}
	close(next)
	wg.Wait()
	return errors.Join(errs...)
}

// DeleteTask implements metafora.Client.
func (c *Client) DeleteTask(ctx context.Context, id string) error {
	if err := c.delete(ctx, id); err != nil {
		return fmt.Errorf("delete %.64q: %w", id, err)
	}
	return nil
}

func (c *Client) delete(ctx context.Context, id string) error {
	if err := metafora.ValidateID(id); err != nil {
		return err
	}
	key := c.keys.task(id)
	resp, err := c.get(ctx, key, clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	if len(resp.Kvs) == 0 {
		return metafora.ErrNoTask
	}
	// Bound to this submission, the operation may be repeated.
	out := c.commits.do(ctx, op{
		id:   id,
		cmps: []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", resp.Kvs[0].CreateRevision)},
		then: []clientv3.Op{
			clientv3.OpDelete(key), clientv3.OpDelete(c.keys.owner(id)), clientv3.OpDelete(c.keys.command(id)),
		},
	})
	if out.err == nil && !out.held && !out.uncertain {
		return metafora.ErrNoTask
	}
	return out.err
}

// SubmitCommand implements metafora.Client.
func (c *Client) SubmitCommand(ctx context.Context, node string, cmd metafora.Command) error {
	if err := c.submitCommand(ctx, node, cmd); err != nil {
		return fmt.Errorf("command for node %.64q: %w", node, err)
	}
	return nil
}

func (c *Client) submitCommand(ctx context.Context, node string, cmd metafora.Command) error {
	if err := metafora.ValidateID(node); err != nil {
		return err
	}
	value, err := metafora.EncodeCommand(cmd)
	if err != nil {
		return err
	}
	// The key is the nonce here. Commands are ordered by revision.
	key := c.keys.nodeCommands(node) + c.nonce()
	return c.write(ctx, write{
		id: key, key: key, value: string(value),
		cmps:    []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(c.keys.node(node)), ">", 0)},
		refused: metafora.ErrNoNode,
	})
}

// Nodes implements metafora.Client.
func (c *Client) Nodes(ctx context.Context) ([]metafora.Node, error) {
	kvs, err := c.list(ctx, c.keys.nodes)
	if err != nil {
		return nil, fmt.Errorf("nodes: %w", err)
	}
	return decodeNodes(c.keys, kvs), nil
}

// Tasks implements metafora.Client. The list is of one moment.
func (c *Client) Tasks(ctx context.Context) ([]metafora.TaskInfo, error) {
	kvs, err := c.list(ctx, c.keys.tasks)
	if err != nil {
		return nil, fmt.Errorf("tasks: %w", err)
	}
	return decodeTasks(c.keys, kvs), nil
}

// Task implements metafora.Client.
func (c *Client) Task(ctx context.Context, id string) (metafora.TaskInfo, error) {
	if err := metafora.ValidateID(id); err != nil {
		return metafora.TaskInfo{}, fmt.Errorf("task: %w", err)
	}
	var resp *clientv3.TxnResponse
	err := c.read(ctx, func(ctx context.Context) (err error) {
		resp, err = c.conn.Txn(ctx).Then(clientv3.OpGet(c.keys.task(id)), clientv3.OpGet(c.keys.owner(id))).Commit()
		return err
	})
	if err != nil {
		return metafora.TaskInfo{}, fmt.Errorf("task %q: %w", id, err)
	}
	var kvs []*keyValue
	for _, r := range resp.Responses {
		kvs = append(kvs, r.GetResponseRange().GetKvs()...)
	}
	if infos := decodeTasks(c.keys, kvs); len(infos) > 0 {
		return infos[0], nil
	}
	return metafora.TaskInfo{}, fmt.Errorf("task %q: %w", id, metafora.ErrNoTask)
}

func (c *Client) list(ctx context.Context, prefix string) ([]*keyValue, error) {
	kvs, _, err := listPrefix(ctx, c.get, prefix)
	return kvs, err
}

// decodeTasks puts tasks and owners together, sorted by ID.
func decodeTasks(keys keyspace, kvs []*keyValue) []metafora.TaskInfo {
	infos := make(map[string]metafora.TaskInfo, len(kvs))
	owners := make(map[string]*keyValue)
	for _, kv := range kvs {
		id, owner, ok := keys.parseTask(string(kv.Key))
		switch {
		case !ok:
		case owner:
			owners[id] = kv
		default:
			info := metafora.TaskInfo{ID: id}
			if props, err := decodeTask(kv.Value); err == nil {
				info.Props = props
			} else {
				// Shown as it is stored, for somebody to mend.
				info.Props, _ = json.Marshal(string(kv.Value))
			}
			infos[id] = info
		}
	}
	out := make([]metafora.TaskInfo, 0, len(infos))
	for _, id := range sortedKeys(infos) {
		info := infos[id]
		if kv := owners[id]; kv != nil {
			info.Owner, info.Fence = decodeOwner(kv.Value), uint64(kv.CreateRevision)
		}
		out = append(out, info)
	}
	return out
}
