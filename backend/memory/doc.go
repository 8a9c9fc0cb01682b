// Package memory is a broker in memory: a whole cluster, with leases, fencing
// and failover, within one process and without network. It is for tests of
// handlers and balancers, for trying the library out, and it is the reference
// model of what a backend does.
//
// Begin with [NewBroker]. Each node takes a [Coordinator] of its own from it,
// and anything that submits work a [Client]:
//
//	broker := memory.NewBroker()
//	consumer, err := metafora.NewConsumer(broker.Coordinator("node-1"), handler, balance.All())
//	...
//	err = broker.Client().SubmitTask(ctx, metafora.NewTask("task-1"))
//
// [Broker.NewService] does the same for stateful tasks, see package statemachine.
//
// All is lost when the process ends.
//
// # Time
//
// Leases run on the standard clock, so that in a testing/synctest bubble a node
// fails over in no time at all. The package starts no goroutine but the ones in
// which the timers of leases fire, and a Broker's timers fire one after the
// other, in one order. With no map's order and no randomness behind any result,
// the same sequence of calls has the same results, revisions and all.
//
// # Faults
//
// The methods [Broker.Partition], [Broker.Pause], [Broker.Kill],
// [Broker.ExpireLease], [Broker.DeleteOwner], [Broker.Compact] and the PutRaw
// ones do to a node what networks, operators and old versions of a program do.
package memory
