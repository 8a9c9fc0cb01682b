package metafora

import (
	"context"
	"encoding/json"
)

// Client submits tasks and commands. It joins no cluster and holds no claims.
// All methods are safe for concurrent use, block no longer than ctx, and return
// errors that name what they are about.
type Client interface {
	// SubmitTask stores t and its properties, the JSON encoding of t. Once it
	// returned nil the task runs until it is done or deleted. ErrTaskExists:
	// a task of this ID is there; ErrInvalidID, ErrTooLarge: t cannot be stored;
	// ErrUncertain: the broker did not answer in time, and the task was not
	// there when read back, which leaves open whether it has run already, or
	// comes yet. With both, another submission was there when read back.
	SubmitTask(ctx context.Context, t Task) error

	// SubmitTasks submits many tasks in few broker writes. Each task succeeds
	// or fails by itself; the error joins (errors.Join) one error for each task
	// that failed. Invalid tasks, and IDs listed twice, are found before
	// anything is written: then nothing is.
	SubmitTasks(ctx context.Context, ts []Task) error

	// DeleteTask removes a task, waiting or running, with its pending command.
	// A handler that runs it loses its claim and its context ends. The stored
	// state of a stateful task stays for inspection; the next submission of
	// the ID removes it. ErrNoTask: no such task.
	DeleteTask(ctx context.Context, id string) error

	// SubmitCommand sends a command to a live node, which handles it once.
	// ErrNoNode: no live node has this name; ErrInvalidCommand: see
	// [Command.Validate].
	SubmitCommand(ctx context.Context, node string, c Command) error

	// Nodes lists the live nodes by name.
	Nodes(ctx context.Context) ([]Node, error)

	// Tasks lists all tasks by ID.
	Tasks(ctx context.Context) ([]TaskInfo, error)

	// Task looks one task up. ErrNoTask: no such task.
	Task(ctx context.Context, id string) (TaskInfo, error)
}

// TaskInfo is what the broker knows of a task.
type TaskInfo struct {
	ID    string          `json:"id"`
	Props json.RawMessage `json:"props,omitempty"`
	// Owner names the node that has claimed the task, empty when none has.
	Owner string `json:"owner,omitempty"`
	// Fence is the fencing token of the current claim, 0 without an owner.
	Fence uint64 `json:"fence,omitempty"`
}

// Node is what a node tells the others of itself.
type Node struct {
	Name string `json:"name"`
	// Accepting is false while the node is frozen, draining or shutting down.
	// Balancers do not count on it for more work.
	Accepting bool `json:"accepting"`
	// Weight is the node's share of the work relative to the others. Backends
	// store 1 where it was left 0.
	Weight float64 `json:"weight"`
	// Labels are for balancers that match tasks with nodes.
	Labels map[string]string `json:"labels,omitempty"`
}
