// Package etcd is the production backend: tasks, claims, states and commands
// live in etcd, of which it uses transactions, leases and watches.
//
//	cli, err := etcd.Dial(ctx, clientv3.Config{Endpoints: []string{"127.0.0.1:2379"}})
//	...
//	coord, err := etcd.NewCoordinator(cli, "node-1", etcd.Options{Namespace: "/prod"})
//	...
//	consumer, err := metafora.NewConsumer(coord, handler, balance.NewRendezvous(coord))
//
// [NewService] does the same for stateful tasks, see package statemachine.
//
// # Keys
//
// All keys lie below the namespace, so that an etcd role limited to that prefix
// suffices. IDs and names are path-escaped.
//
//	/<ns>/tasks/<id>                     {"props":...}; its create revision is the submission
//	/<ns>/tasks/<id>/owner               {"node":...} on the node's lease; its create revision is the fence
//	/<ns>/nodes/<node>                   {"accepting":...} on the node's lease
//	/<ns>/nodes/<node>/commands/<nonce>  a command for the node, until it is handled
//	/<ns>/state/<id>                     state of a stateful task, written under a current claim only
//	/<ns>/commands/<id>                  pending command of a task, until it is handled
//
// # How it works
//
// A node has one lease. Everything it knows comes from one list and one watch for
// each of three prefixes, however many tasks there are; an idle cluster sends
// etcd nothing but lease renewals. Concurrent writes share transactions: each is
// a nested transaction with compares of its own.
//
// # Timing
//
// A node whose last answered renewal was sent TTL minus Margin ago ends the
// contexts of its handlers. Other nodes can claim its tasks once the lease has
// expired at etcd, not before TTL has passed since that renewal arrived there.
// A handler that returns within Margin of its context's end therefore never
// overlaps with the next owner, unless the clocks of node and etcd drift apart
// by more than what is left of Margin, or the process stands still: then only
// the fence protects outside stores. docs/etcd.md has all timings, and how to run
// on a cluster with TLS and a limited role.
package etcd
