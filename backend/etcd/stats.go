package etcd

import (
	"sync/atomic"
	"time"
)

// counters are what Stats reports, each counted where it happens.
type counters struct {
	transactions, operations      atomic.Int64
	lists, watchRestarts, orphans atomic.Int64
	renewalFailures, leasesLost   atomic.Int64
	groups                        [len(groupBounds)]atomic.Int64
}

// groupBounds are the upper bounds of the histogram of group sizes.
var groupBounds = [...]int{1, 2, 4, 8, 16, 32, 64, 128}

func (s *counters) transaction(ops int) {
	s.transactions.Add(1)
	s.operations.Add(int64(ops))
	for i, bound := range groupBounds {
		if ops <= bound {
			s.groups[i].Add(1)
			return
		}
	}
}

// Stats are figures of a Coordinator since it was made.
type Stats struct {
	// Transactions is the number of group commits tried, Operations that of
	// the writes in them.
	Transactions, Operations int64
	// GroupSizes counts transactions by the number of their operations: key
	// b has those of at most b, and more than the next smaller key.
	GroupSizes map[int]int64
	// Lists counts complete listings, WatchRestarts watches that ended, and
	// Repairs the keys that a list found the watch to have missed.
	Lists, WatchRestarts, Repairs int64
	// Orphans counts claims that took effect late and were released.
	Orphans int64
	// RenewalFailures counts unanswered lease renewals, LeasesLost leases.
	RenewalFailures, LeasesLost int64
	// RenewalAge is the time since the last answered renewal was sent.
	RenewalAge time.Duration
	// Tasks is the number of tasks known, Waiting of those to be announced,
	// Claims of those owned by this node.
	Tasks, Waiting, Claims int
}

// Stats returns a snapshot. It is safe for concurrent use and cheap enough to be
// called for each scrape of a metrics server.
func (c *Coordinator) Stats() Stats {
	s := Stats{
		Transactions: c.stats.transactions.Load(), Operations: c.stats.operations.Load(),
		GroupSizes: make(map[int]int64, len(groupBounds)),
		Lists:      c.stats.lists.Load(), WatchRestarts: c.stats.watchRestarts.Load(),
		Orphans:         c.stats.orphans.Load(),
		RenewalFailures: c.stats.renewalFailures.Load(), LeasesLost: c.stats.leasesLost.Load(),
	}
	for i, bound := range groupBounds {
		s.GroupSizes[bound] = c.stats.groups[i].Load()
	}
	if sess := c.session.Load(); sess != nil {
		s.RenewalAge = time.Since(sess.renew.Load().sent)
	}
	c.tasks.mu.Lock()
	defer c.tasks.mu.Unlock()
	s.Repairs = int64(c.tasks.repairs)
	s.Tasks, s.Waiting, s.Claims = len(c.tasks.tasks), len(c.tasks.waiting), len(c.tasks.claims)
	return s
}
