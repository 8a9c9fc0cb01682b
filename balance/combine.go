package balance

import (
	"time"

	"github.com/metafora-go/metafora"
)

// Combine returns a balancer that claims a task when all of the given ones agree
// to, and releases what any of them wants to release. One that spreads tasks and
// some that restrict what this node takes make a good combination:
//
//	balance.Combine(balance.NewRendezvous(coord), memory)
//
// Other nodes notice one that refuses tasks for reasons of its own, and stop
// waiting for it.
func Combine(balancers ...metafora.Balancer) metafora.Balancer {
	return combined(balancers)
}

type combined []metafora.Balancer

func (c combined) Init(bc metafora.BalancerContext) {
	for _, b := range c {
		b.Init(bc)
	}
}

// CanClaim asks all, also after one refused: each is to see the task, so that
// their delays run at the same time.
func (c combined) CanClaim(t metafora.Task) (until time.Time, ok bool) {
	ok = true
	for _, b := range c {
		u, agrees := b.CanClaim(t)
		if !agrees {
			ok = false
			if u.After(until) {
				until = u
			}
		}
	}
	return until, ok
}

func (c combined) Forget(id string) {
	for _, b := range c {
		if f, ok := b.(metafora.Forgetter); ok {
			f.Forget(id)
		}
	}
}

func (c combined) Balance() []string {
	var all []string
	listed := make(map[string]struct{})
	for _, b := range c {
		for _, id := range b.Balance() {
			if _, again := listed[id]; !again {
				listed[id] = struct{}{}
				all = append(all, id)
			}
		}
	}
	return all
}
