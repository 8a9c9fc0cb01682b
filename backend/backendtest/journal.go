package backendtest

import (
	"sync"
	"time"

	"github.com/metafora-go/metafora"
)

// eventKind tells what a node said.
type eventKind int

const (
	announced eventKind = iota
	lost
	changed
)

// event is one thing that a node said: it announced a task, reported a claim
// lost, or reported a change of its cluster.
type event struct {
	kind  eventKind
	node  *node
	id    string
	task  metafora.Task
	claim metafora.Claim
	cause error
	at    time.Time
}

// journal holds what all nodes of a check said, in the order in which they said
// it.
type journal struct {
	mu     sync.Mutex // guards events
	events []event
}

func (j *journal) add(e event) {
	e.at = time.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, e)
}

// mark returns a position: what was said before it, and what was said since.
func (j *journal) mark() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.events)
}

// since returns the events that were said since mark and that match.
func (j *journal) since(mark int, match func(event) bool) []event {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []event
	for _, e := range j.events[mark:] {
		if match(e) {
			found = append(found, e)
		}
	}
	return found
}

// position returns the position of the first event since mark that matches, or
// -1.
func (j *journal) position(mark int, match func(event) bool) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, e := range j.events[mark:] {
		if match(e) {
			return mark + i
		}
	}
	return -1
}
