package simtest

import (
	"time"

	"github.com/metafora-go/metafora/statemachine"
)

// ledger is the truth: what the broker holds, followed change by change, and
// what was promised to clients.
type ledger struct {
	tasks map[string]*record
	nodes map[string]int64 // the lease of each live node
	owned map[string]int   // how many tasks each node has
	// submissions has the values of all submissions there were, which no two
	// have in common.
	submissions map[string]bool
	taken       []takenCommand
	// letters is how many commands for each node are at the broker.
	letters map[string]int
}

// takenCommand is a command that a node has removed from the broker.
type takenCommand struct {
	inc    *incarnation
	number int
}

// record is one task ID's part of the ledger.
type record struct {
	submission int64 // 0 when there is no such task
	number     int   // in the properties of the submission
	owner      string
	lease      int64
	fence      int64 // 0 when it has no owner
	lastFence  int64 // the largest there was
	command    int64 // revision of the pending command, 0 without one

	// acked is the submission that a client knows to be in, until a client
	// deletes the task or a node is done with it.
	acked int64
	// submitting is set while a client's submission is under way, submitted is
	// what it has come to at the broker.
	submitting bool
	submitted  int64
	// state is the stored one, stateValue as it is kept, "" without one.
	state      statemachine.State
	stateValue string
	lastAsk    storedAsk
	// heard are the commands that listeners got last, by the fences of claims.
	heard map[uint64]int64
	// effects are the states that commands have led to.
	effects map[int64]string
	// removed are commands that were handled or replaced, by the revision at
	// which they went.
	removed map[int64]int64
	// excused are fences of claims that ended without the node's doing and
	// before their lease did: their handlers cannot know at once.
	excused map[int64]bool
	// unused is since when its owner has had no handler for it, without reason.
	unused time.Time
}

func newLedger() *ledger {
	return &ledger{
		tasks: make(map[string]*record), nodes: make(map[string]int64), owned: make(map[string]int),
		submissions: make(map[string]bool), letters: make(map[string]int),
	}
}

func (l *ledger) task(id string) *record {
	r := l.tasks[id]
	if r == nil {
		r = &record{}
		l.tasks[id] = r
	}
	return r
}

// actor is who causes the changes that are being observed.
type actor struct {
	kind actorKind
	inc  *incarnation // byCall of a node
}

type actorKind int

const (
	byNobody   actorKind = iota
	byCall               // a request of a node, or of a client where there is no node
	byExpiry             // the broker, because a lease has expired
	byOperator           // somebody from outside: a lease revoked, a key deleted
)

// change is a change of what is at one place.
type change struct {
	place
	rev int64
	now *content // what was put there, nil where it was removed
	was []byte   // the command to a node that was there before, nil for none
}

// content is what a broker has at a place.
type content struct {
	since int64  // the revision at which it came to be there
	owner string // the node that has made a claim
	lease int64  // that it lives on
	value []byte // of a state, a command to a node, or the message to a task
	nonce string // of a submission, "" where it has none
	// number is what the properties of a submission hold.
	number int
}

// enter takes in the changes of one revision.
func (l *ledger) enter(changes []change) {
	for _, c := range changes {
		switch c.kind {
		case atNode:
			delete(l.nodes, c.id)
			if c.now != nil {
				l.nodes[c.id] = c.now.lease
			}
			continue
		case atNodeCommand:
			if c.now != nil {
				l.letters[c.id]++
			} else {
				l.letters[c.id]--
			}
			continue
		case elsewhere:
			continue
		}
		r := l.task(c.id)
		switch {
		case c.kind == atTask && c.now != nil:
			r.submission, r.number = c.now.since, c.now.number
		case c.kind == atTask:
			r.submission = 0
		case c.kind == atOwner:
			if r.fence != 0 {
				l.owned[r.owner]--
			}
			r.owner, r.lease, r.fence = "", 0, 0
			if c.now != nil {
				r.owner, r.lease, r.fence = c.now.owner, c.now.lease, c.now.since
				r.lastFence = max(r.lastFence, r.fence)
				l.owned[r.owner]++
			}
		case c.kind == atState:
			r.state, r.stateValue = statemachine.State{}, ""
			if c.now != nil {
				r.stateValue = string(c.now.value)
				r.state, _ = statemachine.DecodeState(c.now.value)
			}
		case c.kind == atTaskCommand:
			if r.command != 0 {
				if r.removed == nil {
					r.removed = make(map[int64]int64)
				}
				r.removed[r.command] = c.rev
			}
			r.command = 0
			if c.now != nil {
				r.command = c.rev
			}
		}
	}
}

func (r *record) excuse(fence int64) {
	if r.excused == nil {
		r.excused = make(map[int64]bool)
	}
	r.excused[fence] = true
}
