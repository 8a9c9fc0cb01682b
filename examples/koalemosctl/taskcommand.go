package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/examples/internal/koalemos"
	"github.com/metafora-go/metafora/statemachine"
)

func pauseTask(ctx context.Context, cl client, id string) error {
	return send(ctx, cl, id, statemachine.Pause())
}

func killTask(ctx context.Context, cl client, id string) error {
	return send(ctx, cl, id, statemachine.Kill())
}

// resumeTask has a task run that does not. From fault no other way leads there
// than a sleep, which may be short.
func resumeTask(ctx context.Context, cl client, id string) error {
	state, err := cl.State(ctx, id)
	switch {
	case errors.Is(err, statemachine.ErrCorruptState), state.Code == statemachine.Fault:
		return send(ctx, cl, id, statemachine.Sleep(time.Now()))
	case err == nil, errors.Is(err, statemachine.ErrNoState):
		return send(ctx, cl, id, statemachine.Run())
	}
	return err
}

// send leaves a command for a task, unless the node that runs it would not look at
// it.
func send(ctx context.Context, cl client, id string, m statemachine.Message) error {
	info, err := cl.Task(ctx, id)
	if err != nil {
		return fmt.Errorf("%s: %w", m.Code, err)
	}
	nodes, err := cl.Nodes(ctx)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if n.Name == info.Owner && !keepsStates(n) {
			return fmt.Errorf("%s: task %q runs on node %q, which was not started with -stateful", m.Code, id, n.Name)
		}
	}
	return cl.Send(ctx, id, m)
}

func keepsStates(n metafora.Node) bool {
	return n.Labels[koalemos.LabelStateful] == koalemos.StatefulYes
}
