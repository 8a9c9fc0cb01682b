package etcd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
)

// inbox holds the commands for this node that are still at the broker, in the
// order in which they were submitted.
type inbox struct {
	prefix string
	wake   chan struct{} // holds one

	mu      sync.Mutex // guards what follows
	letters []*letter
	seen    int64 // the create revision of the latest
}

type letter struct {
	key   string
	rev   int64
	value []byte
	tried bool // an attempt to take it that was given up may have removed it
}

func newInbox(keys keyspace, name string) *inbox {
	return &inbox{prefix: keys.nodeCommands(name), wake: make(chan struct{}, 1)}
}

func (b *inbox) listed(kvs []*keyValue) { b.add(slices.Values(kvs)) }

func (b *inbox) events(events []*clientv3.Event) {
	b.add(func(yield func(*keyValue) bool) {
		for _, ev := range events {
			if ev.Type == clientv3.EventTypePut && !yield(ev.Kv) {
				return
			}
		}
	})
}

func (b *inbox) add(kvs func(yield func(*keyValue) bool)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var news []*letter
	for kv := range kvs {
		key := string(kv.Key)
		if len(key) > len(b.prefix) && key[:len(b.prefix)] == b.prefix && kv.ModRevision > b.seen {
			news = append(news, &letter{key: key, rev: kv.ModRevision, value: kv.Value})
		}
	}
	if len(news) == 0 {
		return
	}
	slices.SortFunc(news, func(l, m *letter) int { return cmp.Compare(l.rev, m.rev) })
	b.letters = append(b.letters, news...)
	b.seen = news[len(news)-1].rev
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *inbox) first() *letter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.letters) == 0 {
		return nil
	}
	return b.letters[0]
}

// Command implements metafora.Coordinator. A command is removed from etcd before
// it is returned: it is handled once at most, and once unless the process dies
// in between.
func (c *Coordinator) Command(ctx context.Context) (metafora.Command, error) {
	for {
		if err := c.usable(ctx); err != nil {
			return metafora.Command{}, err
		}
		l := c.inbox.first()
		if l == nil {
			select {
			case <-c.inbox.wake:
			case <-ctx.Done():
			case <-c.ctx.Done():
			}
			continue
		}
		taken, err := c.take(ctx, l)
		if err != nil {
			return metafora.Command{}, fmt.Errorf("command: %w", err)
		}
		if !taken {
			c.log.Warn("command was removed before it was handled", "key", l.key)
			continue
		}
		return metafora.DecodeCommand(l.value)
	}
}

// take removes a letter from etcd. It reports false if somebody else has.
func (c *Coordinator) take(ctx context.Context, l *letter) (bool, error) {
	out := c.commits.do(ctx, op{
		id:   l.key,
		cmps: []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(l.key), "=", l.rev)},
		then: []clientv3.Op{clientv3.OpDelete(l.key)},
	})
	c.inbox.mu.Lock()
	defer c.inbox.mu.Unlock()
	if out.err != nil {
		l.tried = l.tried || out.uncertain
		return false, out.err
	}
	c.inbox.letters = slices.DeleteFunc(c.inbox.letters, func(m *letter) bool { return m == l })
	return out.held || out.uncertain || l.tried, nil
}
