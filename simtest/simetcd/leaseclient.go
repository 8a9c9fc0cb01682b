package simetcd

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// keepAliveRetry is how long clientv3 waits before it renews again after a
	// failure.
	keepAliveRetry = 500 * time.Millisecond
	// firstKeepAlive is how long clientv3 waits for the first answer.
	firstKeepAlive = 5 * time.Second
	// onceRetry keeps KeepAliveOnce from turning into a loop that never lets
	// the clock of a bubble move.
	onceRetry = 25 * time.Millisecond
)

// Grant implements clientv3.Lease. IDs count up from 1.
func (c *Client) Grant(ctx context.Context, ttl int64) (*clientv3.LeaseGrantResponse, error) {
	return c.lease.Grant(ctx, ttl)
}

// Revoke implements clientv3.Lease.
func (c *Client) Revoke(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseRevokeResponse, error) {
	return c.lease.Revoke(ctx, id)
}

// TimeToLive implements clientv3.Lease.
func (c *Client) TimeToLive(ctx context.Context, id clientv3.LeaseID, opts ...clientv3.LeaseOption) (*clientv3.LeaseTimeToLiveResponse, error) {
	return c.lease.TimeToLive(ctx, id, opts...)
}

// Leases implements clientv3.Lease.
func (c *Client) Leases(ctx context.Context) (*clientv3.LeaseLeasesResponse, error) {
	return c.lease.Leases(ctx)
}

// KeepAliveOnce implements clientv3.Lease. Like clientv3 it tries again while
// the server is unavailable, until ctx ends.
func (c *Client) KeepAliveOnce(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseKeepAliveResponse, error) {
	for {
		resp, err := c.renew(ctx, id)
		switch {
		case err == nil && resp.TTL <= 0:
			return nil, rpctypes.ErrLeaseNotFound
		case err == nil:
			return resp, nil
		case halts(ctx, err):
			return nil, clientv3.ContextError(ctx, err)
		}
		c.sleep(ctx, onceRetry)
	}
}

// KeepAlive implements clientv3.Lease. It renews at once and then each third of
// the TTL, and sends one renewal at a time. The channel closes when ctx ends,
// the client is closed, the lease is gone, or no renewal was answered for a TTL.
func (c *Client) KeepAlive(ctx context.Context, id clientv3.LeaseID) (<-chan *clientv3.LeaseKeepAliveResponse, error) {
	ch := make(chan *clientv3.LeaseKeepAliveResponse, clientv3.LeaseResponseChSize)
	if !c.start(func() { c.keepAlive(ctx, id, ch) }) {
		close(ch)
		return ch, clientv3.ErrKeepAliveHalted{Reason: context.Canceled}
	}
	return ch, nil
}

func (c *Client) keepAlive(ctx context.Context, id clientv3.LeaseID, ch chan<- *clientv3.LeaseKeepAliveResponse) {
	defer close(ch)
	deadline := time.Now().Add(firstKeepAlive)
	for time.Now().Before(deadline) {
		renewCtx, cancel := context.WithDeadline(ctx, deadline)
		resp, err := c.renew(renewCtx, id)
		cancel()
		wait := keepAliveRetry
		switch {
		case err == nil && resp.TTL <= 0:
			return
		case err == nil:
			ttl := time.Duration(resp.TTL) * time.Second
			deadline = time.Now().Add(ttl)
			wait = ttl / 3
			select {
			case ch <- resp:
			default: // clientv3 drops what its user does not read
			}
		}
		if !c.sleep(ctx, min(wait, time.Until(deadline))) {
			return
		}
	}
}

func (c *Client) renew(ctx context.Context, id clientv3.LeaseID) (*clientv3.LeaseKeepAliveResponse, error) {
	r := &pb.LeaseKeepAliveRequest{ID: int64(id)}
	resp, err := do[*pb.LeaseKeepAliveResponse](ctx, c, KindKeepAlive, r)
	if err != nil {
		return nil, err
	}
	return &clientv3.LeaseKeepAliveResponse{
		ResponseHeader: resp.Header, ID: clientv3.LeaseID(resp.ID), TTL: resp.TTL,
	}, nil
}

// sleep reports false when ctx ended or the client was closed.
func (c *Client) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil && !c.isClosed()
	case <-ctx.Done():
	case <-c.done:
	}
	return false
}

// halts tells whether clientv3 gives up after an error, rather than trying again.
func halts(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return true
	}
	code := status.Code(err)
	var etcdErr rpctypes.EtcdError
	if errors.As(err, &etcdErr) {
		code = etcdErr.Code()
	}
	return code != codes.Unavailable && code != codes.Internal
}

// leaseCalls is the server as clientv3's Lease calls it. The Client renews
// leases by itself, since clientv3 does that in the order of a map.
type leaseCalls struct {
	pb.LeaseClient // nil: nothing else is called
	c              *Client
}

func (l leaseCalls) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest, _ ...grpc.CallOption) (*pb.LeaseGrantResponse, error) {
	return do[*pb.LeaseGrantResponse](ctx, l.c, KindGrant, r)
}

func (l leaseCalls) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest, _ ...grpc.CallOption) (*pb.LeaseRevokeResponse, error) {
	return do[*pb.LeaseRevokeResponse](ctx, l.c, KindRevoke, r)
}

func (l leaseCalls) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest, _ ...grpc.CallOption) (*pb.LeaseTimeToLiveResponse, error) {
	return do[*pb.LeaseTimeToLiveResponse](ctx, l.c, KindTimeToLive, r)
}

func (l leaseCalls) LeaseLeases(ctx context.Context, r *pb.LeaseLeasesRequest, _ ...grpc.CallOption) (*pb.LeaseLeasesResponse, error) {
	return do[*pb.LeaseLeasesResponse](ctx, l.c, KindLeases, r)
}
