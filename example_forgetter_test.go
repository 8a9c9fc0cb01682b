package metafora_test

import (
	"fmt"
	"time"

	"github.com/metafora-go/metafora"
)

// Patient is a Balancer for a node that is to help out: it leaves each task to the other
// nodes for a while.
type Patient struct {
	For   time.Duration
	since map[string]time.Time
}

func (b *Patient) Init(metafora.BalancerContext) { b.since = make(map[string]time.Time) }

// CanClaim is asked again at the time that it names, and may be asked before.
func (b *Patient) CanClaim(t metafora.Task) (until time.Time, ok bool) {
	now := time.Now()
	since, known := b.since[t.ID()]
	if !known {
		since = now
		b.since[t.ID()] = now
	}
	until = since.Add(b.For)
	return until, !now.Before(until)
}

// Forget makes the wait begin anew, for another node has had the task.
func (b *Patient) Forget(id string) { delete(b.since, id) }

func (b *Patient) Balance() []string { return nil }

// A Balancer that remembers tasks has to be told when one is announced anew. A Consumer
// makes these calls.
func ExampleForgetter() {
	var b metafora.Forgetter = &Patient{For: 10 * time.Millisecond}
	b.Init(nil)
	task := metafora.NewTask("task-1")
	ask := func() {
		_, ok := b.CanClaim(task)
		fmt.Println(ok)
	}
	b.Forget(task.ID())
	ask()
	time.Sleep(10 * time.Millisecond)
	ask()
	b.Forget(task.ID()) // it was claimed and released by another node
	ask()
	// Output:
	// false
	// true
	// false
}
