// Package metafora runs long-running tasks, from minutes to for ever, on a
// cluster of equal nodes. There is no master: nodes claim tasks, keep their
// claims alive, hand them over, and balance themselves. Each task runs on
// exactly one live node until it is done.
//
// A program embeds a [Consumer], which ties three things together:
//
//   - a [Coordinator] connects it to the broker, where tasks live. Package
//     backend/etcd is the production one, backend/memory runs a whole cluster
//     in one process, without goroutines or network, for tests.
//   - a [HandlerFunc] makes the [Handler] that runs a task: user code.
//   - a [Balancer] decides which tasks this node should claim and when to let
//     go of some. Package balance has several.
//
// A [Client] submits tasks and commands from anywhere:
//
//	broker := memory.NewBroker()
//	coord := broker.Coordinator("node-1")
//	handler := metafora.SimpleHandler(
//		func(ctx context.Context, t metafora.Task, stop <-chan struct{}) bool {
//			return work(ctx, t.ID(), stop) // true: done; false: hand over
//		})
//	consumer, err := metafora.NewConsumer(coord, handler, balance.All())
//	...
//	err = consumer.Run(ctx)
//
// # Promises
//
// Nothing acknowledged is lost: a submitted task is announced to some node
// until it is done or deleted. At any instant at most one node owns a task,
// judged by the broker. A node that cannot renew its lease ends the contexts of
// its handlers before the broker can give its tasks to another node. Every
// claim carries a fencing token that grows with every claim of that task. Done
// is final: after it was acknowledged the task never runs again, unless it is
// submitted again.
//
// # What a handler must do
//
// Exclusive execution needs the handler's help: it returns when its context
// ends, and passes [Claim.Fence] (see [ClaimFromContext]) along with writes to
// outside stores, which refuse a token smaller than one they have seen. A
// handler that outlives its context can overlap with the next owner; a context
// cannot stop code that does not look at it.
package metafora
