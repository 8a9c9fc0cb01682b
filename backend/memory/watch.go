package memory

import (
	"context"
	"fmt"
	"slices"
	"sort"

	"github.com/metafora-go/metafora"
)

// claimableLog has the claimable tasks in the order in which they became so. It
// serves every watch: a watch is a position in it, so that one that is slow or
// cut off misses nothing and costs nothing.
type claimableLog struct {
	entries []claimableEntry // in the order of place
	last    uint64           // the place given last
	stale   int              // entries whose task has left its place
	// generation changes when the history is compacted.
	generation uint64
	grown      signal
}

type claimableEntry struct {
	place uint64
	task  *task
}

func (e claimableEntry) live() bool { return e.task.place == e.place }

// add puts a task that became claimable at the end.
func (l *claimableLog) add(t *task) {
	l.last++
	t.place = l.last
	l.entries = append(l.entries, claimableEntry{place: l.last, task: t})
	l.grown.fire()
}

func (l *claimableLog) remove(t *task) {
	t.place = 0
	l.stale++
	if l.stale > len(l.entries)/2 {
		l.entries = slices.DeleteFunc(l.entries, func(e claimableEntry) bool { return !e.live() })
		l.stale = 0
	}
}

// compact forces all watches to list again.
func (l *claimableLog) compact() {
	l.generation++
	l.grown.fire()
}

// position is how far a watch has come.
type position struct {
	place      uint64
	generation uint64
}

// next returns the first claimable task after p and moves p to it.
func (l *claimableLog) next(p *position) (claimableEntry, bool) {
	if p.generation != l.generation {
		*p = position{generation: l.generation}
	}
	i := sort.Search(len(l.entries), func(i int) bool { return l.entries[i].place > p.place })
	for _, e := range l.entries[i:] {
		if e.live() {
			p.place = e.place
			return e, true
		}
	}
	p.place = l.last
	return claimableEntry{}, false
}

// Watch implements [metafora.Coordinator]. Each call begins with all claimable
// tasks.
func (c *Coordinator) Watch(ctx context.Context, tasks chan<- metafora.Task) error {
	var p position
	for {
		e, err := c.nextClaimable(ctx, &p)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("watch tasks as node %q: %w", c.name, err)
		}
		t, err := metafora.DecodeTask(c.opts.taskFunc, e.task.id, e.task.props)
		if err != nil {
			c.opts.logger.Error("stored task skipped", "task", e.task.id, "node", c.name, "error", err)
			continue
		}
		if !c.noteAnnounced(e, t) {
			continue
		}
		select {
		case tasks <- t:
		case <-ctx.Done():
		case <-c.gone:
		}
	}
}

// nextClaimable waits for the next task to announce.
func (c *Coordinator) nextClaimable(ctx context.Context, p *position) (claimableEntry, error) {
	b := c.broker
	for {
		if err := c.enter(ctx); err != nil {
			return claimableEntry{}, err
		}
		var grown <-chan struct{}
		if c.link == connected {
			if e, ok := b.claimable.next(p); ok {
				b.unlock()
				return e, nil
			}
			grown = b.claimable.grown.wait()
		}
		c.waitForChange(ctx, grown)
	}
}

// noteAnnounced must come before the send, since the receiver may claim at once.
// It reports false where the task is not claimable any more; if it becomes so
// again, the log has it again.
func (c *Coordinator) noteAnnounced(e claimableEntry, t metafora.Task) bool {
	c.broker.lock()
	defer c.broker.unlock()
	if c.err != nil || !e.live() {
		return false
	}
	e.task.seen.note(c.number, t)
	return true
}
