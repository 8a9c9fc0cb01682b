package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/statemachine"
)

// stateful has one node run stateful tasks.
func stateful(ctx context.Context, o options) ([]figure, error) {
	waiting, err := onServer(ctx, o, func(ctx context.Context, s *server, raw float64) ([]figure, error) {
		return statefulWaiters(ctx, s, raw, o)
	})
	if err != nil {
		return nil, err
	}
	changing, err := onServer(ctx, o, func(ctx context.Context, s *server, raw float64) ([]figure, error) {
		return transitions(ctx, s, raw, o.Tasks)
	})
	return append(waiting, changing...), err
}

// startService runs a node with stateful tasks. It is alone, and claims
// everything at once.
func startService(ctx context.Context, s *server, h statemachine.StatefulHandler) (*node, *etcd.Client, error) {
	service, err := etcd.NewService(s.cli, "a", statemachine.Config{
		Handler:  h,
		Balancer: func(metafora.ClusterState) metafora.Balancer { return balance.All() },
	}, etcd.Options{Namespace: namespace, TTL: leaseTTL})
	if err != nil {
		return nil, nil, err
	}
	n := &node{consumer: service.Consumer, coord: service.Coordinator, ended: make(chan error, 1)}
	go func() { n.ended <- service.Run(ctx) }()
	return n, service.Client, nil
}

// statefulWaiters has tasks wait for commands, first running, then paused.
func statefulWaiters(ctx context.Context, s *server, raw float64, o options) ([]figure, error) {
	if _, err := submit(ctx, s.cli, o.Idle); err != nil {
		return nil, err
	}
	before := measureFootprint()
	r := newRunning(o.Idle)
	received := make(chan time.Time, 1)
	n, client, err := startService(ctx, s, func(ctx context.Context, t metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
		r.enter(t)
		select {
		case m := <-commands:
			if m.Code == statemachine.CodeRun {
				received <- time.Now()
			}
			return m
		case <-ctx.Done():
			return statemachine.Release()
		}
	})
	if err != nil {
		return nil, err
	}
	if err := r.wait(ctx); err != nil {
		return nil, err
	}
	running := measureFootprint()
	requests, err := s.idleRequests(ctx, 2*leaseTTL)
	if err != nil {
		return nil, err
	}
	latency, err := commandLatency(ctx, client, received, min(o.Tasks, 500))
	if err != nil {
		return nil, err
	}
	rate, err := pauseAll(ctx, client, n, o.Idle)
	if err != nil {
		return nil, err
	}
	paused := measureFootprint()
	bytes := func(f footprint) float64 { return (f.bytes - before.bytes) / float64(o.Idle) }
	goroutines := func(f footprint) float64 { return float64(f.goroutines-before.goroutines) / float64(o.Idle) }
	return []figure{
		{"memory of a running stateful task", "bytes", "<= 8192", bytes(running), 0},
		{"goroutines of a running stateful task", "", "<= 2", goroutines(running), 0},
		{"memory of a paused one", "bytes", "<= 8192", bytes(paused), 0},
		{"goroutines of a paused one", "", "<= 2", goroutines(paused), 0},
		{fmt.Sprintf("requests of %d that listen, but lease renewals", o.Idle), "in 10 s", "0", requests, 0},
		{"command to its handler", "ms", "< 10", latency, 0},
		{"commands sent, handled, and states stored", "commands/s", "", rate, raw},
	}, n.stop()
}

// commandLatency is the median time from when a command is sent until its
// handler has it.
func commandLatency(ctx context.Context, client *etcd.Client, received <-chan time.Time, n int) (float64, error) {
	var took []float64
	for _, t := range tasks(n) {
		begun := time.Now()
		if err := client.Send(ctx, t.ID(), statemachine.Run()); err != nil {
			return 0, err
		}
		select {
		case at := <-received:
			took = append(took, float64(at.Sub(begun))/float64(time.Millisecond))
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return median(took), nil
}

// pauseAll sends every task a command and waits until all have stored their new
// state.
func pauseAll(ctx context.Context, client *etcd.Client, n *node, count int) (float64, error) {
	begun := time.Now()
	var wg sync.WaitGroup
	const senders = 512
	errs := make(chan error, senders)
	for ids := range slices.Chunk(tasks(count), (count+senders-1)/senders) {
		wg.Go(func() {
			for _, t := range ids {
				if err := client.Send(ctx, t.ID(), statemachine.Pause()); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	if err := <-errs; err != nil {
		return 0, err
	}
	for _, t := range n.consumer.Tasks() {
		m := t.Handler.(*statemachine.Machine)
		for {
			if state, _ := m.State(); state.Code == statemachine.Paused {
				break
			}
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			time.Sleep(time.Millisecond)
		}
	}
	return perSecond(count, begun), nil
}

// transitions has tasks change their state as fast as it can be stored: each
// goes to sleep, of which it wakes at once, again and again.
func transitions(ctx context.Context, s *server, raw float64, count int) ([]figure, error) {
	const naps = 5
	if _, err := submit(ctx, s.cli, count); err != nil {
		return nil, err
	}
	begin := make(chan struct{})
	ready, through := newRunning(count), newRunning(count)
	var mu sync.Mutex
	slept := make(map[string]int)
	n, _, err := startService(ctx, s, func(_ context.Context, t metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
		mu.Lock()
		nap := slept[t.ID()]
		slept[t.ID()]++
		mu.Unlock()
		if nap == 0 {
			ready.enter(t)
			<-begin
		}
		if nap < naps {
			return statemachine.Sleep(time.Now())
		}
		through.enter(t)
		return <-commands
	})
	if err != nil {
		return nil, err
	}
	if err := ready.wait(ctx); err != nil {
		return nil, err
	}
	begun := time.Now()
	close(begin)
	if err := through.wait(ctx); err != nil {
		return nil, err
	}
	rate := perSecond(count*naps*2, begun)
	return []figure{{"states stored, one node", "transitions/s", ">= 5000", rate, raw}}, n.stop()
}
