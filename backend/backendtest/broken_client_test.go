package backendtest_test

import (
	"context"
	"errors"
	"slices"

	"github.com/metafora-go/metafora"
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
			[]string{"submit/ExistingIsRefused", "ids/InvalidTaskIDsAreRefused"},
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
			[]string{"client/NodesAreSorted", "membership/LabelsAndWeight"},
			flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return nodesUnseen{cl} }),
		},
		{
			"commands to unknown nodes are accepted",
			[]string{"commands/UnknownNode", "membership/DeadNodeLeaves"},
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
