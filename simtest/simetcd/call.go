package simetcd

import (
	"context"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// Gate decides the fate of a call. A Client calls it on the goroutine of the
// call, with no lock held, once for each attempt.
//
// When it returns nil the caller gets the server's answer; a call that was not
// applied before is applied then. When it returns an error the caller gets that:
// a gRPC status, such as [ErrUnavailable], an error of package rpctypes, or the
// error of a context. A call that was not applied has had no effect then,
// and has none until somebody applies it.
//
// A Gate that holds calls returns ctx.Err() when ctx ends, and [ErrClosing] when
// Call.Closed is closed.
type Gate func(ctx context.Context, c *Call) error

// Kind names what a call does.
type Kind string

// The kinds of calls.
const (
	KindGet        Kind = "get"
	KindPut        Kind = "put"
	KindDelete     Kind = "delete"
	KindTxn        Kind = "txn"
	KindCompact    Kind = "compact"
	KindGrant      Kind = "grant"
	KindRevoke     Kind = "revoke"
	KindKeepAlive  Kind = "keepalive"
	KindTimeToLive Kind = "ttl"
	KindLeases     Kind = "leases"
	KindWatch      Kind = "watch"
	KindProgress   Kind = "progress"
)

// Call is one attempt of a client to have the server do something. Its methods
// are safe for concurrent use.
type Call struct {
	client *Client
	kind   Kind
	req    proto.Message
	stream metadata.MD // what tells the stream of a watch from others

	applied atomic.Bool // set under the server's mutex, after the next two
	resp    any
	err     error

	describe sync.Once
	key      string
}

// Node returns the name of the client that calls.
func (c *Call) Node() string { return c.client.node }

// Kind returns what the call does.
func (c *Call) Kind() Kind { return c.kind }

// Request returns the request as package etcdserverpb has it; for KindWatch it
// is a *WatchCreateRequest. It must not be modified.
func (c *Call) Request() proto.Message { return c.req }

// Closed is closed when the client is.
func (c *Call) Closed() <-chan struct{} { return c.client.done }

// Apply lets the request take effect at the server, unless it has already. It
// may be called at any time, also when the call has failed and its caller has
// moved on: that is a request that was long on its way.
func (c *Call) Apply() {
	if c.Applied() {
		return
	}
	s := c.client.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if !c.Applied() {
		if c.resp, c.err = s.serve(c); c.err != nil {
			c.resp = nil
		}
		c.applied.Store(true)
	}
}

// Applied reports whether the request has taken effect or was refused by the
// server.
func (c *Call) Applied() bool { return c.applied.Load() }

// Result returns the server's answer, which the caller may not get to see: the
// response of package etcdserverpb, which must not be modified, or the error
// with which the request was refused. Both are nil before the call is applied.
func (c *Call) Result() (any, error) {
	if !c.Applied() {
		return nil, nil
	}
	return c.resp, c.err
}
