package main

const (
	balancingGo  = "balancing.go"
	claimingGo   = "claiming.go"
	commandingGo = "commanding.go"
	consumerGo   = "consumer.go"
	runningGo    = "running.go"
)

var ofConsumer = []mutant{
	{
		name: "context-not-ended", file: runningGo,
		why:   "a handler whose claim was lost is asked to stop, and its context lives on",
		edits: one("\tr.cancel(cause) // before", "\t// before"),
	},
	{
		name: "released-while-running", file: runningGo,
		why:   "a task is released when its handler was asked to stop, not when it has returned",
		edits: one("\tr.handler.Stop()\n", "\tr.handler.Stop()\n\t_ = c.coord.Release(c.brokerCtx, r.claim)\n"),
	},
	{
		name: "frozen-claims", file: consumerGo,
		why:   "a frozen node takes announced tasks in",
		edits: one(`open: room && !c.frozen`, `open: room`),
	},
	{
		name: "frozen-reconsiders", file: consumerGo,
		why:   "a frozen node takes deferred tasks up",
		edits: one("\tif !c.frozen {\n", "\t{\n"),
	},
	{
		name: "drain-forgets-one", file: commandingGo,
		why: "a drain does not stop the last task",
		edits: one("for _, r := range c.sortedTasks() {\n\t\tc.stop(r, now)\n\t}\n\treturn c.drainEnd",
			"for _, r := range c.sortedTasks()[min(1, len(c.sortedTasks())):] {\n\t\tc.stop(r, now)\n\t}\n\treturn c.drainEnd"),
	},
	{
		name: "drain-forgets-flights", file: claimingGo,
		why: "a claim that was under way when a drain began gets a handler that nobody stops",
		edits: []edit{
			{`f.making = !c.draining && f.lost != claim`, `f.making = f.lost != claim`},
			{`if c.draining && !lost {`, `if c.draining && late {`},
		},
	},
	{
		name: "deferred-forgotten", file: claimingGo,
		why:   "a task that the balancer has put off is forgotten",
		edits: one("\t\tc.deferred.add(cand, until, DeferredByBalancer)\n", ""),
	},
	{
		name: "failed-claim-forgotten", file: claimingGo,
		why: "a task whose claim the broker has failed is forgotten",
		edits: one("c.deferred.add(next, now.Add(c.retry.delay(\"claim \"+id, int(f.failures))), DeferredByError)",
			"_ = next"),
	},
	{
		name: "announced-while-running", file: claimingGo,
		why:   "a task that is announced while its old handler runs here is forgotten",
		edits: one("\t\tr.again = t\n", ""),
	},
	{
		name: "announced-in-flight", file: claimingGo,
		why:   "a task that is announced while its claim is under way is forgotten",
		edits: one("\t\tf.again = t\n", ""),
	},
	{
		name: "runs-twice", file: claimingGo,
		why: "a task that is announced while its old handler runs here is claimed and run again",
		edits: one("if r := c.tasks[id]; r != nil {\n\t\t// The broker",
			"if r := c.tasks[id]; r != nil && r.lost == 0 {\n\t\t// The broker"),
	},
	{
		name: "again-lost-after-release", file: runningGo,
		why:   "a task that is announced before its Release is answered is forgotten",
		edits: one("\t\tif r.again != nil {\n\t\t\tc.deferred.announced(r.again, now)\n\t\t}\n", ""),
	},
	{
		name: "again-lost-after-loss", file: runningGo,
		why: "a task that is announced while the handler of a lost claim returns is forgotten",
		edits: one("c.deferred.add(candidate{task: r.again, announced: now.Sub(c.made), unasked: true}, now, DeferredByRun)",
			"_ = now"),
	},
	{
		name: "count-grows", file: claimingGo,
		why:   "claims that have failed count as the node's own for ever",
		edits: one("\tdelete(c.flights, id)\n\tc.keeping--\n", "\tdelete(c.flights, id)\n"),
	},
	{
		name: "unfreeze-not-told", file: commandingGo,
		why:   "the others do not hear that a node takes tasks again",
		edits: one("\tc.setAccepting(true)\n", ""),
	},
	{
		name: "drain-not-ended", file: commandingGo,
		why:   "a node that was drained and is unfrozen goes on giving up what it claims",
		edits: one("c.frozen, c.draining, c.drainEnd = false, false, time.Time{}", "c.frozen = false"),
	},
}
