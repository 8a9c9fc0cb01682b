package simetcd

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// watchRetry is how long clientv3 waits, once it has backed off, before it asks
// again for a watch that the server was not there to give.
const watchRetry = 100 * time.Millisecond

// Watch implements clientv3.Watcher.
func (c *Client) Watch(ctx context.Context, key string, opts ...clientv3.OpOption) clientv3.WatchChan {
	op := clientv3.OpWatch(key, opts...)
	req := watchRequest(op)
	stream, _ := metadata.FromOutgoingContext(ctx)
	for {
		w, err := pass[*Watch](ctx, &Call{client: c, kind: KindWatch, req: req, stream: stream})
		switch {
		case err == nil:
			return c.serveWatch(ctx, w, op.IsCreatedNotify())
		case ctx.Err() != nil || errors.Is(err, ErrClosing):
			return closedWatch()
		case halts(ctx, err):
			return closedWatch(clientv3.WatchResponse{
				Header: &pb.ResponseHeader{}, Canceled: true, CancelReason: status.Convert(err).Message(),
			})
		}
		c.sleep(ctx, watchRetry)
	}
}

// RequestProgress implements clientv3.Watcher. As in etcd, the watches whose
// contexts carry the same metadata as ctx are told, and only if none of them
// has to catch up or waits for a revision of the future.
func (c *Client) RequestProgress(ctx context.Context) error {
	stream, _ := metadata.FromOutgoingContext(ctx)
	_, err := pass[struct{}](ctx, &Call{
		client: c, kind: KindProgress, req: &pb.WatchProgressRequest{}, stream: stream,
	})
	return clientv3.ContextError(ctx, err)
}

func (s *Server) requestProgress(c *Client, stream metadata.MD) (struct{}, error) {
	var told []*Watch
	for _, w := range s.watches {
		if w.client != c || !sameStream(w.stream, stream) {
			continue
		}
		if w.behind || !w.begun() {
			return struct{}{}, nil
		}
		told = append(told, w)
	}
	for _, w := range told {
		if n := len(w.progress); n > 0 && w.progress[n-1] == s.store.rev {
			continue // one that waits says the same
		}
		w.progress = append(w.progress, s.store.rev)
		w.signal()
	}
	return struct{}{}, nil
}

// serveWatch begins to serve a watch that the server has granted.
func (c *Client) serveWatch(ctx context.Context, w *Watch, createdNotify bool) clientv3.WatchChan {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.closed {
		return closedWatch()
	}
	if createdNotify {
		w.hand(clientv3.WatchResponse{Header: s.headerAt(w.made), Created: true}, false)
	}
	s.addWatch(w)
	c.wg.Go(func() { w.serve(ctx) })
	return w.out
}

// watchRequest is what clientv3 sends for an operation made by OpWatch.
func watchRequest(op clientv3.Op) *pb.WatchCreateRequest {
	r := &pb.WatchCreateRequest{
		Key: op.KeyBytes(), RangeEnd: op.RangeBytes(), StartRevision: op.Rev(),
		ProgressNotify: op.IsProgressNotify(), PrevKv: op.IsPrevKV(), Fragment: op.IsFragment(),
	}
	if len(r.Key) == 0 {
		r.Key = []byte{0} // the smallest key
	}
	if op.IsFilterPut() {
		r.Filters = append(r.Filters, pb.WatchCreateRequest_NOPUT)
	}
	if op.IsFilterDelete() {
		r.Filters = append(r.Filters, pb.WatchCreateRequest_NODELETE)
	}
	return r
}

// sameStream tells whether clientv3 uses one stream for contexts that carry this.
func sameStream(a, b metadata.MD) bool { return maps.EqualFunc(a, b, slices.Equal[[]string]) }

func refuseWatch(reason string) error { return status.Error(codes.FailedPrecondition, reason) }

// closedWatch is the channel of a watch that never was, with what it says.
func closedWatch(says ...clientv3.WatchResponse) clientv3.WatchChan {
	ch := make(chan clientv3.WatchResponse, len(says))
	for _, resp := range says {
		ch <- resp
	}
	close(ch)
	return ch
}
