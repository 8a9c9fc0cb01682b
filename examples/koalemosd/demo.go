//go:build unix

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/examples/internal/koalemos"
)

const (
	demoTasks  = 6
	demoTTL    = 3 * time.Second
	demoMargin = time.Second
)

// demo shows what a cluster does, with nodes that are processes of their own: it
// submits tasks, kills a node, ends another one in good order, and tells which
// node runs what until all tasks are done.
type demo struct {
	client    metafora.Client
	endpoint  string
	namespace string
	output    string    // directory
	out       io.Writer // for the story
	program   string    // koalemosd
	beat      time.Duration
	command   []string // of each task

	began  time.Time
	nodes  map[string]*demoNode
	owners map[string]string // of tasks that are not done, "" without one
}

// demoNode is a koalemosd process.
type demoNode struct {
	cmd   *exec.Cmd
	told  atomic.Bool // to end
	ended chan struct{}
}

func (d *demo) run(ctx context.Context) error {
	d.began, d.nodes, d.owners = time.Now(), map[string]*demoNode{}, map[string]string{}
	ctx, cancel := context.WithCancelCause(ctx)
	defer d.wait()
	defer cancel(nil)

	d.tell("three nodes join an etcd on %s", d.endpoint)
	for _, name := range []string{"ann", "bob", "cat"} {
		if err := d.start(ctx, cancel, name); err != nil {
			return err
		}
	}
	if err := d.until(ctx, d.joined); err != nil {
		return err
	}
	d.tell("%d tasks are submitted: %s", demoTasks, strings.Join(d.command, " "))
	if err := d.submit(ctx); err != nil {
		return err
	}
	if err := d.until(ctx, d.allRun); err != nil {
		return err
	}
	victim, err := d.lose(ctx, syscall.SIGKILL, "%s is killed: its tasks wait until its lease of "+demoTTL.String()+" ends")
	if err != nil {
		return err
	}
	leaver, err := d.lose(ctx, syscall.SIGTERM, "%s is asked to end: it hands its tasks over at once")
	if err != nil {
		return err
	}
	if err := d.until(ctx, func(context.Context) bool { return len(d.owners) == 0 }); err != nil {
		return err
	}
	d.tell("all tasks are done, without %s and %s; their output is in %s", victim, leaver, d.output)
	return nil
}

// start starts a node. It ends with ctx; should it end before it is told to, ctx
// is cancelled.
func (d *demo) start(ctx context.Context, cancel context.CancelCauseFunc, name string) error {
	// No task has a file of this name.
	if err := os.MkdirAll(d.output, 0o700); err != nil {
		return fmt.Errorf("log of node %s: %w", name, err)
	}
	log, err := os.Create(filepath.Join(d.output, "node-"+name+".txt"))
	if err != nil {
		return fmt.Errorf("log of node %s: %w", name, err)
	}
	defer log.Close()
	n := &demoNode{ended: make(chan struct{})}
	n.cmd = exec.CommandContext(ctx, d.program, "-name", name, "-etcd", d.endpoint, "-namespace", d.namespace,
		"-output", d.output, "-ttl", demoTTL.String(), "-margin", demoMargin.String())
	n.cmd.Stderr = log
	n.cmd.Cancel = func() error { return n.cmd.Process.Signal(syscall.SIGTERM) }
	if err := n.cmd.Start(); err != nil {
		return fmt.Errorf("start node %s: %w", name, errors.Join(err, context.Cause(ctx)))
	}
	d.nodes[name] = n
	go func() {
		defer close(n.ended)
		if err := n.cmd.Wait(); !n.told.Load() {
			cancel(fmt.Errorf("node %s has ended, see %s: %w", name, log.Name(), err))
		}
	}()
	return nil
}

// wait waits until all nodes have ended.
func (d *demo) wait() {
	for _, n := range d.nodes {
		<-n.ended
	}
}

// lose ends the node that has most tasks, and returns its name once all tasks run
// on others.
func (d *demo) lose(ctx context.Context, sig syscall.Signal, story string) (name string, err error) {
	if err := d.rest(ctx); err != nil {
		return "", err
	}
	tasks := map[string]int{}
	for _, owner := range d.owners {
		tasks[owner]++
	}
	if len(tasks) == 0 {
		return "", errors.New("all tasks were done before there was anything to see: this machine is too slow")
	}
	name = slices.MaxFunc(slices.Sorted(maps.Keys(tasks)), func(a, b string) int { return cmp.Compare(tasks[a], tasks[b]) })
	d.tell(story, name)
	n := d.nodes[name]
	n.told.Store(true)
	_ = n.cmd.Process.Signal(sig) // if it has ended, so much the better
	return name, d.until(ctx, func(ctx context.Context) bool {
		return d.allRun(ctx) && !slices.Contains(slices.Collect(maps.Values(d.owners)), name)
	})
}

// rest gives people time to read.
func (d *demo) rest(ctx context.Context) error {
	end := time.Now().Add(d.beat)
	return d.until(ctx, func(context.Context) bool { return time.Now().After(end) })
}

func (d *demo) submit(ctx context.Context) error {
	for i := range demoTasks {
		task, err := koalemos.NewTask(fmt.Sprintf("task-%d", i+1), d.command...)
		if err != nil {
			return err
		}
		if err := d.client.SubmitTask(ctx, task); err != nil {
			return err
		}
		d.owners[task.ID()] = ""
	}
	return nil
}

func (d *demo) joined(ctx context.Context) bool {
	nodes, err := d.client.Nodes(ctx)
	return err == nil && len(nodes) == len(d.nodes)
}

func (d *demo) allRun(context.Context) bool {
	return !slices.Contains(slices.Collect(maps.Values(d.owners)), "")
}

// until tells what happens until something holds.
func (d *demo) until(ctx context.Context, holds func(context.Context) bool) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		infos, err := d.client.Tasks(ctx)
		if err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		d.look(infos)
		if holds(ctx) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// look tells what is new.
func (d *demo) look(infos []metafora.TaskInfo) {
	now := map[string]metafora.TaskInfo{}
	for _, info := range infos {
		now[info.ID] = info
	}
	for _, id := range slices.Sorted(maps.Keys(d.owners)) {
		info, there := now[id]
		switch {
		case !there:
			d.tell("    %s is done", id)
			delete(d.owners, id)
		case info.Owner != d.owners[id]:
			if info.Owner != "" {
				d.tell("    %s runs on %s", id, info.Owner)
			}
			d.owners[id] = info.Owner
		}
	}
}

// tell writes a line of the story, with the time since it began.
func (d *demo) tell(format string, args ...any) {
	fmt.Fprintf(d.out, "%5.1fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}
