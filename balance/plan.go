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
	if ms.self < 0 {
		return plan{}
	}
	p := plan{total: ms.owned, loads: make([]int, len(ms.list)), quota: make([]int, len(ms.list))}
	for i, m := range ms.list {
		p.loads[i] = m.owned
	}
	p.excess = ms.excess(ms.self, p.total)
	if p.excess == 0 {
		return p
	}
	bound := r.bound(ms.share(ms.self, p.total))
	if owned := ms.list[ms.self].owned; owned > ceil(r.factor*bound) {
		p.over = owned - ceil(bound)
	}
	r.apportion(&p)
	return p
}

// apportion sets the quotas: each node gives its portion of what each taker lacks.
func (r *Rendezvous) apportion(p *plan) {
	ms := &r.members
	start, row, lack := 0, 0, 0
	for i := range ms.list {
		if i == ms.self {
			start = row
		}
		row += ms.excess(i, p.total)
		lack += r.lack(i, p.total)
	}
	if lack == 0 {
		return
	}
	for i := range ms.list {
		// There may be less to give than is lacking.
		density := float64(r.lack(i, p.total)) / float64(max(row, lack))
		p.quota[i] = portion(density, unit(ms.list[i].seed), start, p.excess)
		p.sum += p.quota[i]
	}
}

// portion returns how many of a taker's tasks a node gives. Think of the tasks
// that nodes have above their shares as laid out in a row, node after node, and
// of those that the taker lacks as spread over that row with some density. A
// node gives what falls into its length of the row. As all nodes compute the same
// row, the portions add up to what the taker lacks, without an error of rounding
// that would leave it short where many nodes have little to give. The phase, in
// [0, 1), shifts what is spread, so that several takers do not all ask the same
// nodes.
func portion(density, phase float64, start, length int) int {
	at := func(x int) int { return floor(density*float64(x) + phase) }
	return at(start+length) - at(start)
}

// excess returns how many tasks a member has above its share.
func (ms *members) excess(i, total int) int {
	if !ms.list[i].active {
		return 0
	}
	return max(0, ms.list[i].owned-ceil(ms.share(i, total)))
}

// lack returns how many tasks a needy member is to get: what brings it to its
// share as long as these are tasks for which it is the first by hash, so that
// they are where they belong. Where those do not suffice, the next round makes
// do with others, but only until the member is no longer needy: after that nobody
// would leave them to it.
func (r *Rendezvous) lack(i, total int) int {
	m := &r.members.list[i]
	share := r.members.share(i, total)
	need := r.need(share)
	switch {
	case i == r.members.self || !m.active || float64(m.owned) >= need:
		return 0
	case m.lacked:
		return ceil(need) - m.owned
	default:
		return max(0, floor(share)-m.owned)
	}
}

// note remembers which members are needy, for the next round.
func (r *Rendezvous) note(p *plan) {
	for i := range r.members.list {
		r.members.list[i].lacked = r.lack(i, p.total) > 0
	}
}
