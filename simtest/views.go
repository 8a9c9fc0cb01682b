package simtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/metafora-go/metafora/simtest/simetcd"
)

// mistaken tells where what a node knows is not what the broker holds, "" if all know it.
func (s *Sim) mistaken() string {
	counts := s.ledger.owned
	for _, n := range s.nodes {
		coord := n.inc.coord
		if !n.inc.joined.Load() {
			return n.name + " has not joined"
		}
		if got, want := n.inc.balancer.context.Count(), counts[n.name]; got != want {
			return fmt.Sprintf("%s tells its balancer that it has %d tasks, but has %d", n.name, got, want)
		}
		var known []string
		for _, m := range coord.Nodes() {
			known = append(known, m.Name)
			if got := coord.NodeTaskCount(m.Name); got != counts[m.Name] {
				return fmt.Sprintf("%s counts %d tasks of %s, the broker has %d", n.name, got, m.Name, counts[m.Name])
			}
		}
		if want := slices.Sorted(maps.Keys(s.ledger.nodes)); !slices.Equal(known, want) {
			return fmt.Sprintf("%s knows the nodes %s, the broker has %s", n.name, strings.Join(known, ", "), strings.Join(want, ", "))
		}
		for _, id := range slices.Sorted(maps.Keys(s.ledger.tasks)) {
			r := s.ledger.tasks[id]
			if got, want := coord.Claimable(id), r.submission != 0 && r.fence == 0; got != want {
				return fmt.Sprintf("%s says that %s is claimable: %t, but it is %t", n.name, id, got, want)
			}
		}
	}
	return ""
}

// checkViews holds what nodes know against the broker, of those that have heard all
// there is to hear. With acted, only that process can know anything new.
func (s *Sim) checkViews(acted *incarnation) {
	for _, n := range s.nodes {
		inc := n.inc
		if inc == nil || acted != nil && inc != acted || inc.left() || inc.paused {
			continue
		}
		ofNodes, ofTasks := s.broker.heard(inc)
		if ofNodes {
			s.checkMembers(inc)
		}
		if ofTasks {
			s.checkOwners(inc)
		}
	}
}

// patience is how long a node may own a task without having a handler for it, or
// giving it up: it waits before it tries something again, which package etcd does
// for at most a second, and its Consumer for longer.
func (s *Sim) patience() time.Duration {
	if s.cfg.Backend == Etcd {
		return 3 * time.Second
	}
	return 15 * time.Second
}

// checkUnused looks for claims that a node has forgotten.
func (s *Sim) checkUnused() {
	now := time.Now()
	for _, id := range s.ids {
		r := s.ledger.task(id)
		inc := s.leases[r.lease]
		switch {
		case r.fence == 0 || inc == nil || inc.left() || s.runOf(inc, id, r.fence) != nil || s.disturbed(inc, r.lease):
			r.unused = time.Time{}
		case r.unused.IsZero():
			r.unused = now
		case now.Sub(r.unused) > s.patience():
			s.violate(claimsUsed, "%s has owned %s for %v, and neither runs it nor gives it up", inc, id, now.Sub(r.unused))
		}
	}
}

// disturbed reports whether a node has reason to be late.
func (s *Sim) disturbed(inc *incarnation, lease int64) bool {
	now := time.Now()
	end, ok := s.broker.leaseEnd(lease)
	over := !ok || !end.After(now) || now.After(inc.coord.LeaseDeadline())
	late := s.idling || inc.paused || inc.cut || len(inc.node.slow) > 0 || inc.making.Load() > 0
	_, heard := s.broker.heard(inc)
	return over || late || !heard || s.waits(inc, func(p *pending) bool { return !p.asks(simetcd.KindKeepAlive) })
}

func (s *Sim) checkMembers(inc *incarnation) {
	known := inc.coord.Nodes()
	for _, m := range known {
		if _, ok := s.ledger.nodes[m.Name]; !ok {
			s.violate(indexIsTrue, "%s knows the node %s, which has left", inc, m.Name)
		}
	}
	if len(known) != len(s.ledger.nodes) {
		s.violate(indexIsTrue, "%s knows %d nodes, the broker has %d", inc, len(known), len(s.ledger.nodes))
	}
}

func (s *Sim) checkOwners(inc *incarnation) {
	counts := s.ledger.owned
	for _, n := range s.nodes {
		if got, count := inc.coord.NodeTaskCount(n.name), counts[n.name]; got != count {
			s.violate(indexIsTrue, "%s counts %d tasks of %s, the broker has %d", inc, got, n.name, count)
		}
	}
	wrong := ""
	for id, r := range s.ledger.tasks {
		// What it is claiming is claimable, and not for others.
		if (r.submission == 0 || r.fence != 0) && (wrong == "" || id < wrong) && inc.coord.Claimable(id) {
			wrong = id
		}
	}
	if wrong != "" {
		s.violate(indexIsTrue, "%s says that %s is claimable, and it is not", inc, wrong)
	}
}
