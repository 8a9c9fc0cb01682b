package etcd

import (
	"sync/atomic"
	"time"
)

// counters are what Stats reports, each counted where it happens.
type counters struct {
	claimsTried, claimsRefused, claimsWon, claimsLost atomic.Int64
	transactions, transactionFailures, operations     atomic.Int64
	groups                                            [len(groupBounds)]atomic.Int64
	lists, watchRestarts, compactions, orphans        atomic.Int64
	renewals, renewalFailures, leasesLost             atomic.Int64
}

// groupBounds are the upper bounds of the histogram of group sizes.
var groupBounds = [...]int{1, 2, 4, 8, 16, 32, 64, 128}

func (s *counters) transaction(ops int, err error) {
	s.transactions.Add(1)
	if err != nil {
		s.transactionFailures.Add(1)
	}
	s.operations.Add(int64(ops))
	for i, bound := range groupBounds {
		if ops <= bound {
			s.groups[i].Add(1)
			return
		}
	}
}

// Stats are figures of a Coordinator: counters since it was made, of type int64,
// and the state of things, of type int and time.Duration.
type Stats struct {
	// ClaimsTried counts calls of Claim. ClaimsRefused is how many of them
	// were answered from what the node knew, at no cost to etcd; ClaimsWon how
	// many made this node the owner; ClaimsLost how many found at etcd that
	// another node was faster or that the task was gone. The rest failed, or
	// is under way.
	ClaimsTried, ClaimsRefused, ClaimsWon, ClaimsLost int64
	// Transactions is the number of group commits tried, TransactionFailures
	// how many of them were not answered or were refused, and Operations the
	// number of writes in all of them, repeated ones included.
	Transactions, TransactionFailures, Operations int64
	// GroupSizes counts transactions by the number of their operations: key
	// b has those of at most b, and more than the next smaller key.
	GroupSizes map[int]int64
	// Lists counts complete listings, three at the start. WatchRestarts counts
	// watches that ended and were begun again, Compactions those among them
	// that ended because etcd had dropped the history they needed. Repairs
	// counts the keys that a list found the watch to have missed: other than 0
	// it means that etcd has lost events, or that someone rewrites its history.
	Lists, WatchRestarts, Compactions, Repairs int64
	// Orphans counts claims that took effect late, with nobody waiting for
	// them, and were released.
	Orphans int64
	// Renewals counts answered lease renewals, RenewalFailures those that were
	// not answered, and LeasesLost leases.
	Renewals, RenewalFailures, LeasesLost int64
	// RenewalAge is the time since the last answered renewal was sent, 0
	// before Init. Claims are given up when it reaches the granted TTL less
	// the margin.
	RenewalAge time.Duration
	// Tasks is the number of tasks known, Owned how many of them have an
	// owner, Waiting how many are queued to be announced, and Claims how many
	// this node owns. Strays are claims that this node has lost and whose
	// handlers have not returned yet.
	Tasks, Owned, Waiting, Claims, Strays int
}

// Stats returns a snapshot. It is safe for concurrent use and cheap enough to be
// called for each scrape of a metrics server.
func (c *Coordinator) Stats() Stats {
	n := c.stats
	s := Stats{
		ClaimsTried: n.claimsTried.Load(), ClaimsRefused: n.claimsRefused.Load(),
		ClaimsWon: n.claimsWon.Load(), ClaimsLost: n.claimsLost.Load(),
		Transactions: n.transactions.Load(), TransactionFailures: n.transactionFailures.Load(),
		Operations: n.operations.Load(), GroupSizes: make(map[int]int64, len(groupBounds)),
		Lists: n.lists.Load(), WatchRestarts: n.watchRestarts.Load(), Compactions: n.compactions.Load(),
		Orphans:  n.orphans.Load(),
		Renewals: n.renewals.Load(), RenewalFailures: n.renewalFailures.Load(), LeasesLost: n.leasesLost.Load(),
	}
	for i, bound := range groupBounds {
		s.GroupSizes[bound] = n.groups[i].Load()
	}
	if sess := c.session.Load(); sess != nil {
		s.RenewalAge = time.Since(sess.renew.Load().sent)
	}
	c.tasks.stats(&s)
	return s
}

func (x *index) stats(s *Stats) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s.Repairs = int64(x.repairs)
	s.Tasks, s.Owned, s.Waiting, s.Claims, s.Strays = len(x.tasks), x.owners.owned(), len(x.waiting), len(x.claims), len(x.strays)
}
