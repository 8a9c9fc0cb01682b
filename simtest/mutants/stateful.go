package main

const (
	statefulEtcd   = "TestStatefulTasksKeepTheirPromises/etcd"
	statefulMemory = "TestStatefulTasksKeepTheirPromises/memory"

	stateGo       = "backend/etcd/state.go"
	taskOrdersGo  = "backend/etcd/taskcommands.go"
	memStateGo    = "backend/memory/state.go"
	memCommandsGo = "backend/memory/taskcommand.go"
	mailboxGo     = "statemachine/mailbox.go"
	persistGo     = "statemachine/persist.go"
	tenureGo      = "statemachine/tenure.go"
)

var ofStates = []mutant{
	{
		name: "state-unfenced", file: stateGo, test: statefulEtcd,
		why:   "a state is stored whoever owns the task",
		edits: one("\t\t\t\tc.owns(claim),\n", ""),
	},
	{
		name: "state-revision-not-compared", file: stateGo, test: statefulEtcd,
		why: "a write that was given up overwrites a later one of the same claim",
		edits: one(`clientv3.Compare(clientv3.ModRevision(key), "=", rev),`,
			`clientv3.Compare(clientv3.ModRevision(key), ">", min(rev, 0)-1),`),
	},
	{
		name: "state-revision-not-learned", file: stateGo, test: statefulEtcd,
		why:   "a write whose reply was lost leaves the revision of the state unknown: the next one does not end",
		edits: one("\t\tc.tasks.setStateRev(h, stored.GetModRevision())\n", ""),
	},
	{
		name: "command-left-with-state", file: stateGo, test: statefulEtcd,
		why:   "a command is not removed along with the state that follows from it",
		edits: one(`o.then = append(o.then, c.removeCommand(claim.TaskID, handled))`, `_ = handled`),
	},
	{
		name: "stale-command", file: stateGo, test: statefulEtcd,
		why:   "a new owner believes a watch that lags behind: it gets a command that was handled",
		edits: one(`c.orders.claimed(h.claim.TaskID, out.kv(2), out.rev)`, `_ = out.rev`),
	},
	{
		name: "newer-command-removed", file: taskOrdersGo, test: statefulEtcd,
		why:   "a command that has replaced the handled one is removed in its place",
		edits: one(`clientv3.ModRevision(key), "=", int64(id))`, `clientv3.ModRevision(key), ">", min(0, int64(id)))`),
	},
	{
		name: "command-offered-again", file: taskOrdersGo, test: statefulEtcd,
		why:   "a listener gets a command again when the watch begins anew",
		edits: one(`l == nil || ord.rev <= l.last {`, `l == nil {`),
	},
	{
		name: "newer-command-forgotten", file: taskOrdersGo, test: statefulEtcd,
		why:   "the reply to a claim overrides a command that was sent since, and of which the watch has told",
		edits: one(`if rev < o.pending[id].rev {`, `if rev < 0 {`),
	},
	{
		name: "submission-finds-state", file: clientGo, test: statefulEtcd,
		why:   "a submission leaves the state of an earlier task of its ID",
		edits: one(`clientv3.OpDelete(c.keys.stateOf(id)), `, ``),
	},
	{
		name: "memory-command-left", file: memStateGo, test: statefulMemory,
		why:   "a command is not removed along with the state that follows from it",
		edits: one("\t\t\tb.commandHandled(o.task, handled)\n", ""),
	},
	{
		name: "memory-newer-command-removed", file: memCommandsGo, test: statefulMemory,
		why:   "a command that has replaced the handled one is removed in its place",
		edits: one(`t.command.id == id`, `id != 0`),
	},
	{
		name: "memory-command-again", file: memCommandsGo, test: statefulMemory,
		why:   "a listener gets a command again when its node was cut off",
		edits: one(`if cmd.ID > l.last {`, `if cmd.ID > 0 {`),
	},
	{
		name: "memory-state-unfenced", file: memStateGo, test: statefulMemory,
		why: "a state is stored whoever owns the task",
		edits: one(`err = s.c.withClaim(ctx, claim, func(o *ownership) error {`,
			`err = func(f func(*ownership) error) error {
			if err := s.c.enter(ctx); err != nil {
				return err
			}
			defer s.c.broker.unlock()
			if t := s.c.broker.tasks[claim.TaskID]; t != nil && s.c.link == connected {
				return f(&ownership{task: t})
			}
			return metafora.ErrNotOwner
		}(func(o *ownership) error {`),
	},
	{
		name: "memory-submission-finds-state", file: brokerGo, test: statefulMemory,
		why:   "a submission leaves the state of an earlier task of its ID",
		edits: one("\tif _, ok := b.states[id]; ok {\n", "\tif _, ok := b.states[id]; ok && t == nil {\n"),
	},
	{
		name: "deadline-forgotten", file: persistGo, test: statefulEtcd,
		why:   "the deadline of a task that sleeps does not survive a hand-over",
		edits: one("\tt.setState(s)\n\treturn nil\n", "\ts.Until = time.Time{}\n\tt.setState(s)\n\treturn nil\n"),
	},
	{
		name: "sleeps-for-ever", file: tenureGo, test: statefulEtcd,
		why:   "a task that sleeps does not wake",
		edits: one(`alarm = timer.C`, `_ = timer.C`),
	},
	{
		name: "store-error-ignored", file: persistGo, test: statefulEtcd,
		why:   "a state that could not be stored counts as stored, and the task may be done with that",
		edits: one("\tif err != nil {\n\t\treturn err\n\t}\n\tt.report(next)\n", "\tt.report(next)\n"),
	},
	{
		name: "terminal-not-done", file: tenureGo, test: statefulEtcd,
		why: "a task that is found in a terminal state, its owner having died before Done, waits for ever",
		edits: one("\tif t.state.Code.Terminal() {\n\t\treturn true\n\t}\n\tdefer",
			"\tdefer"),
	},
	{
		name: "handled-not-told", file: mailboxGo, test: statefulEtcd,
		why:   "the command that a handler has answered is not removed",
		edits: one(`return b.handled`, `return 0`),
	},
}
