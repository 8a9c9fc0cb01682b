package simtest

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// broker is a backend under simulation. The root goroutine calls all methods but
// gate and watch, which are a node's.
type broker interface {
	// join makes the Coordinator of a new process.
	join(inc *incarnation) coordinator
	// gate stops a call of a node where the backend itself does not.
	gate(ctx context.Context, inc *incarnation, verb, id string) error
	// watch is Coordinator.Watch, announcement by announcement where the
	// backend has no gates for them.
	watch(ctx context.Context, p *probe, tasks chan<- metafora.Task) error

	// current reports whether a claim is. Any goroutine may ask.
	current(metafora.Claim) bool

	// admin is a client whose calls take effect at once, user one whose calls
	// meet faults.
	admin() Client
	user() Client

	// changed reports whether anything has since changes was called last, which
	// yields the changes of each revision together.
	changed() bool
	changes() iter.Seq[[]change]
	// deliveries returns the news that can be delivered to nodes now. The slice
	// is good until the next call.
	deliveries() []delivery
	// heard reports whether a node has heard all there is of nodes, and of tasks. It
	// may err on the side of false.
	heard(inc *incarnation) (ofNodes, ofTasks bool)
	// streams returns all streams of news that could fail.
	streams() []stream
	// due fires when there is something new to deliver or to expire.
	due() <-chan time.Time

	// overdue returns the leases that have expired, expire ends one of them.
	overdue() []int64
	expire(lease int64)
	expireOverdue() bool
	// leaseEnd returns when a lease ends unless it is renewed.
	leaseEnd(lease int64) (time.Time, bool)

	revoke(node string) bool
	deleteOwner(id string) bool
	// compact drops the history but for the last so many revisions.
	compact(keep int)

	cut(inc *incarnation)
	paused(inc *incarnation)
	healed(inc *incarnation)
	crashed(inc *incarnation)
	close()
}

// Client is what the Clients of both backends are.
type Client interface {
	metafora.Client
	statemachine.Commander
}

// delivery is news on its way to a node.
type delivery interface {
	node() string
	// what it is about: tasks, nodes or commands.
	what() string
	// news says what would be delivered next.
	news() fmt.Stringer
	deliver(revisions int)
}

// stream is where news of a kind comes from, for as long as it does not fail.
type stream interface {
	delivery
	breakOff()
	close()
}
