// Package balance decides which node claims which task, and when a node lets go
// of some.
//
// Begin with [Rendezvous]. It places tasks evenly at about one attempt to claim
// each, on two nodes or two hundred:
//
//	coord, err := etcd.NewCoordinator(...)
//	...
//	balancer := balance.NewRendezvous(coord)
//	consumer, err := metafora.NewConsumer(coord, handler, balancer)
//
// A Coordinator of this module is also the [metafora.ClusterState] that balancers
// ask for the other nodes and their loads, at no cost to the broker.
//
// The others:
//
//   - [All] claims everything, for a single node.
//   - [Fair] keeps each node near the average, for a few nodes.
//   - [LoadDelay] lets the node with the fewest tasks go first, where no node
//     knows of the others.
//   - [Match] claims what the node has the labels for.
//   - [Resource] watches the memory, say, of this node.
//   - [Combine] makes one of several: Rendezvous and Resource, say.
//
// No balancer sleeps, starts a goroutine or talks to the broker. Each belongs to
// one Consumer, which calls it from one goroutine.
package balance
