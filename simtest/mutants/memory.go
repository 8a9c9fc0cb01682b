package main

const (
	inMemory   = "TestMemoryKeepsItsPromises"
	brokerGo   = "backend/memory/broker.go"
	memLeaseGo = "backend/memory/lease.go"
	nodeGo     = "backend/memory/coordinator.go"
	notifyGo   = "backend/memory/notify.go"
)

var ofMemory = []mutant{
	{
		name: "memory-claim-takes-over", file: nodeGo, test: inMemory,
		why:   "a claim does not look whether another node owns the task",
		edits: one(`case stored.owner != nil:`, `case stored.owner != nil && stored.owner.lease == c.lease:`),
	},
	{
		name: "memory-lost-claim-kept", file: notifyGo, test: inMemory,
		why:   "a node keeps a claim that it has lost: its Release ends that of the next owner",
		edits: one("\tdelete(c.held, o.claim.TaskID)\n\to.lost", "\to.lost"),
	},
	{
		name: "memory-release-not-announced", file: nodeGo, test: inMemory,
		why:   "a released task is not announced",
		edits: one("\t\tc.broker.claimable.add(o.task)\n", ""),
	},
	{
		name: "memory-closed-while-running", file: nodeGo, test: inMemory,
		why:   "a node that leaves ends its lease although a handler is stuck and runs on",
		edits: one(`case len(l.owned) == 0:`, `case len(l.owned) >= 0:`),
	},
	{
		name: "memory-claims-outlive-lease", file: memLeaseGo, test: inMemory,
		why:   "the claims of a lease stay when it ends",
		edits: one("\tfor _, o := range inOrder(l.owned) {\n", "\tfor _, o := range inOrder(l.owned)[:0] {\n"),
	},
	{
		name: "memory-no-margin", file: memLeaseGo, test: inMemory,
		why:   "a node trusts its lease until it ends, not a margin less",
		edits: one(`c.deadline = now.Add(c.opts.ttl - c.opts.margin)`, `c.deadline = now.Add(c.opts.ttl)`),
	},
	{
		name: "memory-any-lease-deregisters", file: "backend/memory/cluster.go", test: inMemory,
		why:   "the end of an old lease takes the registration along that its node has under a later one",
		edits: one(`r == nil || r.lease != l {`, `r == nil {`),
	},
	{
		name: "memory-loss-not-told", file: notifyGo, test: inMemory,
		why:   "a claim that has ended is not reported lost",
		edits: one("\tc.later(func() { c.context.Lost(o.claim, cause) })\n", ""),
	},
	{
		name: "memory-command-stays", file: "backend/memory/nodecommand.go", test: inMemory,
		why:   "a command that a node has taken stays",
		edits: one(`delete(b.inboxes, c.name)`, `b.inboxes[c.name] = inbox`),
	},
	{
		name: "memory-watch-not-woken", file: "backend/memory/watch.go", test: inMemory,
		why:   "a watch that waits does not hear of a task that becomes claimable",
		edits: one("task: t})\n\tl.grown.fire()\n", "task: t})\n"),
	},
}
