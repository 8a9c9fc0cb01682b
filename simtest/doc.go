// Package simtest runs whole clusters in simulated time, with real Consumers,
// balancers, state machines and backends, and decides what happens when: which
// request arrives next, late, twice or never, who hears of what, which node
// crashes, stands still or is cut off, what clients ask for. The same decisions
// give the same run, unless Config.Coarse is set.
//
// [Run] draws the decisions, checks after each that the promises of package
// metafora hold, and shrinks a schedule that breaks one to a short one that can be
// read as a timeline. [Script] runs a schedule that is written down.
//
// Both take your own handlers and balancers:
//
//	func TestLedgerSurvivesFailover(t *testing.T) {
//		simtest.Run(t, simtest.Config{Nodes: 3}, func(s *simtest.Sim) {
//			var l ledger
//			s.Handle(l.handler(s))
//			s.Invariant("no write of an old owner", l.check)
//			s.Explore()
//			s.Settle()
//		})
//	}
//
// # How it works
//
// A schedule runs in a bubble of package testing/synctest. Every request of every
// node stops at a gate; when all goroutines rest, the scheduler lets one thing
// happen. With [Etcd], package backend/etcd runs unmodified on an etcd in memory,
// package simetcd, which a test holds against the real one. With [Memory], each
// call of a Coordinator stops at a gate, and so do announcements and commands on
// their way to a node; leases end by the clock.
//
// What a simulation decides is what it knows of: requests to the broker, news
// from it, time, and what handlers do at [Sim.Gate]. A process that stands still
// does so at its gates, in its callbacks, balancer and handlers' gates; its
// timers fire unseen.
package simtest
