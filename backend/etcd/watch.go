package etcd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"github.com/metafora-go/metafora"
)

const (
	firstPage     = 2_000
	largestPage   = 20_000
	wantPageBytes = 4 << 20
)

// feed keeps one view of a prefix up to date: one list, then one watch, and a
// list again when history that the watch needs was compacted, and every so often
// to be sure.
type feed struct {
	c      *Coordinator
	what   string // for logs and errors
	prefix string
	// listed takes in all keys as of a revision, from which the watch goes on
	// if it is resumed; changed what happened since. Both run in one goroutine.
	listed  func(kvs []*keyValue, rev int64, resumed bool)
	changed func(events []*clientv3.Event)
	rev     int64 // up to which the view is complete
}

func (c *Coordinator) feeds() []*feed {
	return []*feed{
		{
			c: c, what: "nodes", prefix: c.keys.nodes,
			listed: func(kvs []*keyValue, rev int64, _ bool) {
				c.inbox.listed(kvs)
				if c.members.listed(kvs, rev) {
					c.cc.ClusterChanged()
				}
			},
			changed: func(events []*clientv3.Event) {
				c.inbox.events(events)
				if c.members.events(events) {
					c.checkMembership()
					c.cc.ClusterChanged()
				}
			},
		},
		{
			c: c, what: "commands", prefix: c.keys.commands,
			listed:  func(kvs []*keyValue, rev int64, _ bool) { c.discard(c.orders.listed(kvs, rev)) },
			changed: func(events []*clientv3.Event) { c.discard(c.orders.events(events)) },
		},
		{
			c: c, what: "tasks", prefix: c.keys.tasks,
			listed: func(kvs []*keyValue, rev int64, resumed bool) {
				c.carryOut(c.tasks.reset(kvs, rev, resumed), metafora.ErrNotOwner)
			},
			changed: func(events []*clientv3.Event) {
				c.carryOut(c.tasks.events(events), metafora.ErrNotOwner)
			},
		},
	}
}

// list reads everything anew. resumed says that the watch begins after it.
func (f *feed) list(ctx context.Context, resumed bool) error {
	get := func(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
		ctx, cancel := context.WithTimeout(ctx, f.c.opts.RequestTimeout)
		defer cancel()
		return f.c.conn.Get(ctx, key, opts...)
	}
	kvs, rev, err := listPrefix(ctx, get, f.prefix)
	if err != nil {
		return fmt.Errorf("list %s: %w", f.what, err)
	}
	f.c.stats.lists.Add(1)
	f.listed(kvs, rev, resumed)
	if resumed {
		f.rev = max(f.rev, rev)
	}
	return nil
}

// listPrefix reads all keys of a prefix as of one revision, page by page, and
// begins again when that revision is compacted meanwhile.
func listPrefix(
	ctx context.Context,
	get func(context.Context, string, ...clientv3.OpOption) (*clientv3.GetResponse, error),
	prefix string,
) (kvs []*keyValue, rev int64, err error) {
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	limit, least := int64(firstPage), int64(0)
	for {
		resp, err := get(ctx, from, clientv3.WithRange(end), clientv3.WithRev(rev), clientv3.WithLimit(limit))
		if errors.Is(err, rpctypes.ErrCompacted) && rev != 0 {
			// The first page grows until it holds everything: no compaction
			// comes in between then.
			kvs, rev, from, least = nil, 0, prefix, min(max(limit, least)*10, math.MaxInt32)
			limit = least
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		if rev == 0 {
			rev = resp.Header.Revision
		}
		kvs = append(kvs, resp.Kvs...)
		if !resp.More {
			return kvs, rev, nil
		}
		from = string(kvs[len(kvs)-1].Key) + "\x00"
		limit = nextPage(resp.Kvs)
	}
}

// nextPage fits the number of keys of a page to their size.
func nextPage(kvs []*keyValue) int64 {
	size := 1
	for _, kv := range kvs {
		size += len(kv.Key) + len(kv.Value)
	}
	return int64(min(max(firstPage/10, len(kvs)*wantPageBytes/size), largestPage))
}

// ownStream prepares the context of a watch. Without a leader, a member cut off from the
// others would stay silent. And clientv3 has watches share a stream where their metadata
// are the same: those of an in-process client can deadlock when many begin or end at once,
// each waiting for the others to be read (etcd issue 20716).
func ownStream(ctx context.Context, owner any) context.Context {
	return metadata.AppendToOutgoingContext(clientv3.WithRequireLeader(ctx), "metafora-watch", fmt.Sprintf("%p", owner))
}

// follow watches from the list on until the Coordinator is closed.
func (f *feed) follow() {
	ctx := f.c.ctx
	own := ownStream(ctx, f)
	for failures := 0; ctx.Err() == nil; {
		err := f.watch(own, func() { failures = 0 })
		if ctx.Err() != nil {
			return
		}
		f.c.stats.watchRestarts.Add(1)
		f.c.log.Info("watch ended", "of", f.what, "revision", f.rev, "error", err)
		if errors.Is(err, rpctypes.ErrCompacted) {
			f.c.stats.compactions.Add(1)
			err = f.list(ctx, true)
		}
		if err != nil {
			failures++
			_ = sleep(ctx, f.c.opts.jitter(backoff(failures)))
		}
	}
}

// watch follows the prefix from revision f.rev on. It always returns an error.
func (f *feed) watch(ctx context.Context, alive func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	responses := f.c.conn.Watch(ctx, f.prefix, clientv3.WithPrefix(), clientv3.WithRev(f.rev+1))
	relist := time.NewTimer(f.c.opts.jitter(f.c.opts.RelistInterval))
	defer relist.Stop()
	for {
		select {
		case resp, ok := <-responses:
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case !ok:
				return errors.New("watch channel closed")
			}
			if err := resp.Err(); err != nil {
				return err
			}
			alive()
			if len(resp.Events) > 0 {
				f.changed(resp.Events)
				f.rev = max(f.rev, resp.Events[len(resp.Events)-1].Kv.ModRevision)
			}
		case <-ctx.Done(): // a client that hangs does not close the channel
			return ctx.Err()
		case <-relist.C:
			// What the watch tells later, the list has told already, and
			// revisions sort that out.
			if err := f.list(ctx, false); err != nil && ctx.Err() == nil {
				f.c.log.Warn("not listed again", "of", f.what, "error", err)
			}
			relist.Reset(f.c.opts.jitter(f.c.opts.RelistInterval))
		}
	}
}
