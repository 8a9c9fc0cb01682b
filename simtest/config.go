package simtest

import (
	"errors"
	"fmt"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/balance"
)

// Backend names the broker that a simulation has.
type Backend string

const (
	// Etcd is package backend/etcd on a simulated etcd: see package simetcd.
	Etcd Backend = "etcd"
	// Memory is package backend/memory. Its calls can fail before they take
	// effect, but neither lose their reply nor arrive late, its news is
	// neither lost nor broken off, and leases end by the clock.
	Memory Backend = "memory"
)

// Config says what is simulated. The zero value of each field means its default.
type Config struct {
	// Backend is the broker; default [Etcd].
	Backend Backend
	// Nodes is how many nodes there are, named a, b, c and so on; default 3,
	// at most 26 with such names, further ones are n27 and so on. In half of the
	// schedules that [Sim.Explore] begins it leaves out some of the last, unless
	// there is a Balancer that might wait for them.
	Nodes int
	// Tasks is how many task IDs [Sim.Explore] draws from, t1, t2 and so on;
	// default 5. In half of the schedules it leaves out some of the last.
	Tasks int
	// Steps is after how many things that have happened Explore takes no further
	// step, which is about how many do; default 100. A fault is one, and so is each
	// request and each piece of news that arrives, also while a step lets time pass.
	Steps int
	// Schedules is how many schedules [Run] tries; default 200. The flag
	// -simtest.duration makes it try for a time instead.
	Schedules int
	// TTL is that of the nodes' leases; default 10 s.
	TTL time.Duration
	// Margin is the safety margin of the leases; default 2 s.
	Margin time.Duration
	// BalanceInterval is that of the Consumers; default 15 s.
	BalanceInterval time.Duration
	// DrainTimeout is that of the Consumers; default 10 s.
	DrainTimeout time.Duration
	// Stateful makes the tasks stateful: handlers answer what Explore draws, which
	// sends commands to them. See package statemachine, and [Sim.HandleStateful]
	// for handlers of your own.
	Stateful bool
	// Balancer makes the balancer of each node; default [balance.NewRendezvous].
	Balancer func(metafora.ClusterState) metafora.Balancer
	// Options are further options of the Consumers.
	Options []metafora.Option
	// Coarse lets all that is under way arrive at once, checks the invariants
	// after each such round only, and keeps no timeline: for clusters that are
	// too large to look at each step. What nodes do between two rounds they do
	// on all cores, so that no run is quite like another, and what they share,
	// such as Observers, has to be safe for that. It is not for Explore, nor for
	// Memory, whose calls happen only as their callers go on.
	Coarse bool
	// Without are the kinds of faults that Explore does not draw; default none.
	Without []Fault

	evens bool      // the balancer is the one whose promises are known
	deck  []*action // what steps are drawn from
}

// Fault is a kind of fault.
type Fault string

// The faults that Explore draws.
const (
	// FailedCalls are requests that fail before they took effect.
	FailedCalls Fault = "failed calls"
	// LostReplies are requests that took effect, whose callers get an error.
	LostReplies Fault = "lost replies"
	// LateCalls are requests whose callers have given up when they take effect.
	LateCalls Fault = "late calls"
	// SlowCalls are requests, replies and watches that are overtaken by what
	// comes after.
	SlowCalls Fault = "slow calls"
	// BrokenWatches are watches whose stream breaks, is closed or cancelled.
	BrokenWatches Fault = "broken watches"
	// Compactions drop the broker's history.
	Compactions Fault = "compactions"
	// Crashes are nodes that end without goodbye, and come back.
	Crashes Fault = "crashes"
	// Partitions cut nodes off from the broker.
	Partitions Fault = "partitions"
	// Pauses make nodes stand still, as SIGSTOP or the migration of a virtual
	// machine does.
	Pauses Fault = "pauses"
	// Stalls are times in which nothing is delivered to anybody.
	Stalls Fault = "stalls"
	// Revocations are leases and claims that an operator removes.
	Revocations Fault = "revocations"
	// StuckHandlers are handlers that do not return when they should.
	StuckHandlers Fault = "stuck handlers"
	// Shutdowns are nodes that leave gracefully, and come back.
	Shutdowns Fault = "shutdowns"
)

func (c Config) withDefaults() (Config, error) {
	setDefault(&c.Backend, Etcd)
	setDefault(&c.Nodes, 3)
	setDefault(&c.Tasks, 5)
	setDefault(&c.Steps, 100)
	setDefault(&c.Schedules, 200)
	setDefault(&c.TTL, 10*time.Second)
	setDefault(&c.Margin, 2*time.Second)
	setDefault(&c.BalanceInterval, 15*time.Second)
	setDefault(&c.DrainTimeout, 10*time.Second)
	c.deck = deck(c.Without)
	if c.Balancer == nil {
		c.evens = true
		c.Balancer = func(cs metafora.ClusterState) metafora.Balancer { return balance.NewRendezvous(cs) }
	}
	var errs []error
	if c.Backend != Etcd && c.Backend != Memory {
		errs = append(errs, fmt.Errorf("unknown backend %q", c.Backend))
	}
	if c.Coarse && c.Backend == Memory {
		errs = append(errs, errors.New("a coarse simulation of the memory backend"))
	}
	for _, n := range []struct {
		what  string
		value int
	}{{"nodes", c.Nodes}, {"tasks", c.Tasks}, {"steps", c.Steps}, {"schedules", c.Schedules}} {
		if n.value < 1 {
			errs = append(errs, fmt.Errorf("%s: want at least 1, not %d", n.what, n.value))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return c, fmt.Errorf("simtest: %w", err)
	}
	return c, nil
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

func (c Config) nodeName(i int) string {
	if i < 26 {
		return string(rune('a' + i))
	}
	return fmt.Sprintf("n%d", i+1)
}
