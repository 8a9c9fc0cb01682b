package backendtest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/backendtest"
	"github.com/metafora-go/metafora/backend/memory"
)

func clientFlaws() []flaw {
	return []flaw{
		{
			"a submit replaces the task",
			[]string{"submit/ExistingIsRefused", "submit/ConcurrentlyOnce", "ids/AwkwardTaskIDsWork"},
			flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return submitReplaces{cl} }),
		},
		{
			"a batch stops at the first failure",
			[]string{"submit/BatchFailsInPart"},
			flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return batchStops{cl} }),
		},
		{
			"a batch reports one error for all",
			[]string{"submit/BatchFailsInPart"},
			flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return batchReportsOne{cl} }),
		},
		{
			"a batch is written before it is checked",
			[]string{"submit/InvalidBatchWritesNothing"},
			flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return batchUnchecked{cl} }),
		},
		{
			"all errors of a submit are one",
			[]string{
				"submit/ExistingIsRefused", "ids/InvalidTaskIDsAreRefused", "submit/TooLargeIsRefused",
				"submit/UnencodableIsRefused",
			},
			flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return submitJustFails{cl} }),
		},
		{
			"tasks are not sorted",
			[]string{"client/TasksAreSorted"},
			flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return reversedTasks{cl} }),
		},
		{
			"a task has no owner for clients",
			[]string{"client/TaskLooksUp", "claim/IsWhatTheBrokerSays"},
			flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return ownerUnseen{cl} }),
		},
		{
			"a delete of no task succeeds",
			[]string{"client/DeleteUnknown", "client/DeleteConcurrently"},
			flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return deletesNothing{cl} }),
		},
		{
			"nodes cannot be listed",
			[]string{"client/NodesAreSorted", "membership/LabelsAndWeight", "ids/AwkwardNodeNamesWork"},
			flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return nodesUnseen{cl} }),
		},
		{
			"a client sees the tasks that it submitted, and no others",
			[]string{"client/ClientsSeeEachOther"},
			flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return &ownTasksOnly{Client: cl} }),
		},
		{
			"a delete leaves tasks that wait",
			[]string{"client/DeleteWaiting"},
			flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return deletesRunning{cl} }),
		},
		{
			"a batch ends after a thousand tasks",
			[]string{"submit/BatchStoresAll"},
			flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return firstThousand{cl} }),
		},
		{
			"a batch is one write of limited size",
			[]string{"submit/BatchOfLargeTasks"},
			flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return batchIsOneWrite{cl} }),
		},
		{
			"a batch of no tasks is refused",
			[]string{"submit/EmptyBatch"},
			flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return batchNeedsTasks{cl} }),
		},
		{
			"a namespace sees those that begin with its name",
			[]string{"ids/NamespacesStayApart"},
			func(b *memory.Broker, broker *backendtest.Broker) {
				broker.Extend = func(testing.TB, string) backendtest.Broker { return memoryBroker(b) }
			},
		},
		{
			"commands to unknown nodes are accepted",
			[]string{"commands/UnknownNode", "membership/DeadNodeLeaves", "ids/InvalidNodeNamesAreRefused"},
			flawedClients(func(b *memory.Broker, cl *memory.Client) metafora.Client { return commandsAnybody{cl, b} }),
		},
	}
}

type submitReplaces struct{ *memory.Client }

func (cl submitReplaces) SubmitTask(ctx context.Context, t metafora.Task) error {
	err := cl.Client.SubmitTask(ctx, t)
	if errors.Is(err, metafora.ErrTaskExists) {
		_ = cl.DeleteTask(ctx, t.ID())
		return cl.Client.SubmitTask(ctx, t)
	}
	return err
}

type batchStops struct{ *memory.Client }

func (cl batchStops) SubmitTasks(ctx context.Context, ts []metafora.Task) error {
	for _, t := range ts {
		if err := cl.SubmitTask(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

type batchReportsOne struct{ *memory.Client }

func (cl batchReportsOne) SubmitTasks(ctx context.Context, ts []metafora.Task) error {
	if err := cl.Client.SubmitTasks(ctx, ts); err != nil {
		return errors.Join(err)
	}
	return nil
}

type batchUnchecked struct{ *memory.Client }

func (cl batchUnchecked) SubmitTasks(ctx context.Context, ts []metafora.Task) error {
	var errs []error
	for _, t := range ts {
		errs = append(errs, cl.SubmitTask(ctx, t))
	}
	return errors.Join(errs...)
}

type submitJustFails struct{ *memory.Client }

func (cl submitJustFails) SubmitTask(ctx context.Context, t metafora.Task) error {
	if cl.Client.SubmitTask(ctx, t) != nil {
		return errors.New("submit failed")
	}
	return nil
}

type reversedTasks struct{ *memory.Client }

func (cl reversedTasks) Tasks(ctx context.Context) ([]metafora.TaskInfo, error) {
	infos, err := cl.Client.Tasks(ctx)
	slices.Reverse(infos)
	return infos, err
}

type ownerUnseen struct{ *memory.Client }

func (cl ownerUnseen) Task(ctx context.Context, id string) (metafora.TaskInfo, error) {
	info, err := cl.Client.Task(ctx, id)
	info.Owner, info.Fence = "", 0
	return info, err
}

type deletesNothing struct{ *memory.Client }

func (cl deletesNothing) DeleteTask(ctx context.Context, id string) error {
	if err := cl.Client.DeleteTask(ctx, id); !errors.Is(err, metafora.ErrNoTask) {
		return err
	}
	return nil
}

type nodesUnseen struct{ *memory.Client }

func (nodesUnseen) Nodes(context.Context) ([]metafora.Node, error) { return nil, nil }

type ownTasksOnly struct {
	*memory.Client
	own sync.Map // the IDs of those that were submitted here
}

func (cl *ownTasksOnly) SubmitTask(ctx context.Context, t metafora.Task) error {
	err := cl.Client.SubmitTask(ctx, t)
	if err == nil {
		cl.own.Store(t.ID(), true)
	}
	return err
}

func (cl *ownTasksOnly) SubmitTasks(ctx context.Context, ts []metafora.Task) error {
	err := cl.Client.SubmitTasks(ctx, ts)
	for _, t := range ts {
		if t != nil {
			cl.own.Store(t.ID(), true)
		}
	}
	return err
}

func (cl *ownTasksOnly) Task(ctx context.Context, id string) (metafora.TaskInfo, error) {
	if _, own := cl.own.Load(id); !own {
		return metafora.TaskInfo{}, fmt.Errorf("task %q: %w", id, metafora.ErrNoTask)
	}
	return cl.Client.Task(ctx, id)
}

type deletesRunning struct{ *memory.Client }

func (cl deletesRunning) DeleteTask(ctx context.Context, id string) error {
	if info, err := cl.Task(ctx, id); err == nil && info.Owner == "" {
		return nil
	}
	return cl.Client.DeleteTask(ctx, id)
}

type firstThousand struct{ *memory.Client }

func (cl firstThousand) SubmitTasks(ctx context.Context, ts []metafora.Task) error {
	return cl.Client.SubmitTasks(ctx, ts[:min(len(ts), 1000)])
}

type batchIsOneWrite struct{ *memory.Client }

func (cl batchIsOneWrite) SubmitTasks(ctx context.Context, ts []metafora.Task) error {
	size := 0
	for _, t := range ts {
		if props, err := metafora.EncodeProps(t); err == nil {
			size += len(props)
		}
	}
	if size > 1<<20 {
		return fmt.Errorf("submit %d tasks, %q first: %w", len(ts), ts[0].ID(), metafora.ErrTooLarge)
	}
	return cl.Client.SubmitTasks(ctx, ts)
}

type batchNeedsTasks struct{ *memory.Client }

func (cl batchNeedsTasks) SubmitTasks(ctx context.Context, ts []metafora.Task) error {
	if len(ts) == 0 {
		return errors.New("no tasks")
	}
	return cl.Client.SubmitTasks(ctx, ts)
}

type commandsAnybody struct {
	*memory.Client
	b *memory.Broker
}

func (cl commandsAnybody) SubmitCommand(ctx context.Context, node string, cmd metafora.Command) error {
	err := cl.Client.SubmitCommand(ctx, node, cmd)
	if !errors.Is(err, metafora.ErrNoNode) {
		return err
	}
	value, err := metafora.EncodeCommand(cmd)
	cl.b.PutRawCommand(node, value)
	return err
}
