package balance

// plan is what one node is to release in one round.
type plan struct {
	total  int   // all tasks
	loads  []int // how many each member has, what is given included
	excess int   // what this node has above its share: it gives no more
	over   int   // what it is to give to whoever has room
	quota  []int // what it is to give to each member that is far below its share
	sum    int   // of quota
}

func (p *plan) empty() bool { return p.excess <= 0 || (p.over <= 0 && p.sum <= 0) }

// give notes that a task goes from member self to member i.
func (p *plan) give(self, i int) {
	p.loads[self]--
	p.loads[i]++
	p.excess--
	p.over = max(p.over-1, 0)
	if p.quota[i] > 0 {
		p.quota[i]--
		p.sum--
	}
}

// plan computes what this node is to release.
func (r *Rendezvous) plan() plan {
	ms := &r.members
	p := plan{total: ms.owned, loads: make([]int, len(ms.list)), quota: make([]int, len(ms.list))}
	for i := range ms.list {
		p.loads[i] = ms.list[i].owned
	}
	owned, bound := ms.list[ms.self].owned, r.bound(r.leastShare(p.total))
	p.excess = ceil(ms.above(ms.self, p.total))
	if owned > ceil(r.factor*bound) {
		p.over = owned - ceil(bound)
	}
	if p.excess > 0 {
		r.apportion(&p)
	}
	return p
}

// leastShare returns the share of this node, were those doubted nodes to count that have
// nearly theirs: nobody else has to have it for them. Without them this node could keep
// more than others think right, and those that have no doubts do nothing about it.
func (r *Rendezvous) leastShare(total int) float64 {
	ms := &r.members
	sum, weight := float64(total), ms.weight
	for _, m := range ms.doubted() {
		s, w := sum+float64(m.owned), weight+m.weight
		if m.owned < r.needyBelow(s/w*m.weight) {
			break
		}
		if s/w < sum/weight {
			sum, weight = s, w
		}
	}
	return sum / weight * ms.list[ms.self].weight
}

// apportion sets the quotas: each node gives its portion of what each taker lacks.
func (r *Rendezvous) apportion(p *plan) {
	ms := &r.members
	row, lack := ms.row(p.total), 0
	for i := range ms.list {
		lack += r.lack(i, p.total)
	}
	for i := range ms.list {
		// There may be less to give than is lacking.
		density := float64(r.lack(i, p.total)) / max(row.length, float64(lack), 1)
		p.quota[i] = row.portion(density, unit(ms.list[i].seed))
		if p.over > 0 && ms.list[i].trust.needsTask(ms.asOf) {
			// The others may have no doubts, and leave the trial to this node.
			p.quota[i] = max(p.quota[i], 1)
		}
		p.sum += p.quota[i]
	}
}

// row is what all nodes have above their shares, and above one task, laid out node
// after node, and the place of this node in it.
type row struct {
	length, start, end float64
}

func (ms *members) row(total int) row {
	var r row
	for i := range ms.list {
		if i == ms.self {
			r.start = r.length
		}
		if ms.list[i].active {
			r.length += ms.above(i, total)
		}
		if i == ms.self {
			r.end = r.length
		}
	}
	return r
}

// portion returns how many of the tasks that a taker lacks this node gives. They
// are thought to be spread over the row with some density, and a node gives what
// falls into its place. As all nodes compute the same row, the portions add up to
// what the taker lacks, without an error of rounding that would leave it short
// where many nodes have little to give. The phase, in [0, 1), shifts what is
// spread, so that several takers do not all ask the same nodes.
func (r row) portion(density, phase float64) int {
	return floor(density*r.end+phase) - floor(density*r.start+phase)
}

// lack returns how many tasks a needy member is to get: what brings it to its
// share as long as these are tasks for which it is the first by hash, so that
// they are where they belong. Where those do not suffice, the next round makes
// do with others, but only until the member is no longer needy: after that nobody
// would leave them to it.
func (r *Rendezvous) lack(i, total int) int {
	ms := &r.members
	m, share := &ms.list[i], ms.share(i, total)
	goal := floor(share)
	switch {
	case i == ms.self, m.owned >= r.needyBelow(share):
		return 0
	case !m.active && !m.trust.needsTask(ms.asOf):
		return 0
	case !m.active:
		goal = min(goal, m.owned+1) // which tells
	case m.lacked:
		goal = min(goal, ceil(share/(r.factor*r.factor)))
	}
	return max(0, goal-m.owned)
}

// note remembers which members are needy, for the next round.
func (r *Rendezvous) note(p *plan) {
	for i := range r.members.list {
		r.members.list[i].lacked = r.lack(i, p.total) > 0
	}
}
