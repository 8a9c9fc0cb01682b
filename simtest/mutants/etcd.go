package main

const (
	announceGo    = "backend/etcd/announce.go"
	claimGo       = "backend/etcd/claim.go"
	clientGo      = "backend/etcd/client.go"
	commandsGo    = "backend/etcd/commands.go"
	coordinatorGo = "backend/etcd/coordinator.go"
	groupcommitGo = "backend/etcd/groupcommit.go"
	indexGo       = "backend/etcd/index.go"
	leaseGo       = "backend/etcd/lease.go"
	membersGo     = "backend/etcd/members.go"
	watchGo       = "backend/etcd/watch.go"
)

var ofClaims = []mutant{
	{
		name: "claim-resurrects", file: claimGo,
		why: "a claim does not compare that the task exists: a finished one comes back to life",
		edits: one(`clientv3.Compare(clientv3.CreateRevision(task), "=", submission),`,
			`clientv3.Compare(clientv3.CreateRevision(task), "!=", -1),`),
	},
	{
		name: "claim-takes-over", file: claimGo,
		why: "a claim does not compare that there is no owner",
		edits: one(`clientv3.Compare(clientv3.CreateRevision(owner), "=", 0),`,
			`clientv3.Compare(clientv3.CreateRevision(owner), "!=", -1),`),
	},
	{
		name: "claim-without-lease", file: claimGo,
		why:   "the owner's key is not on the node's lease, and outlives the node",
		edits: one(`clientv3.OpPut(owner, c.ownerValue, clientv3.WithLease(s.id))`, `clientv3.OpPut(owner, c.ownerValue)`),
	},
	{
		name: "claim-of-ended-session", file: claimGo,
		why:   "a claim whose reply comes when the lease was given up counts as held",
		edits: one(`if prefetched == nil || s.alive() != nil {`, `if prefetched == nil {`),
	},
	{
		name: "fence-of-the-reply", file: claimGo,
		why:   "a claim that is read back takes the store's revision for its fence",
		edits: one(`fence = owner.CreateRevision`, `fence = out.rev`),
	},
	{
		name: "claim-of-another-submission", file: announceGo,
		why:   "a task that was submitted anew since it was announced is claimed, and runs as it was before",
		edits: one(`if sameTask(e.task, t) {`, `if sameTask(e.task, t) || true {`),
	},
	{
		name: "orphan-forgotten", file: indexGo,
		why:   "a claim that took effect late, after it was given up, is left to the lease",
		edits: one(`fx.orphans = append(fx.orphans, metafora.Claim{TaskID: id, Node: x.name, Fence: own.fence})`, `_ = own`),
	},
	{
		name: "orphan-by-name", file: indexGo,
		why:   "claims of an earlier process of this name, whose handlers may still run, count as orphans",
		edits: one(`e.fence != 0 && x.leases[e.lease] && !e.claiming`, `e.fence != 0 && e.owner.name == x.name && !e.claiming`),
	},
	{
		name: "orphan-while-claiming", file: indexGo,
		why:   "a claim of which the watch tells before the reply does is taken for an orphan",
		edits: one(`x.leases[e.lease] && !e.claiming {`, `x.leases[e.lease] {`),
	},
	{
		name: "strays-forgotten", file: indexGo,
		why:   "a claim that is lost while its handler runs is forgotten, and released as an orphan",
		edits: one("\tx.strays[h.id()] = h\n", ""),
	},
	{
		name: "end-unfenced", file: claimGo,
		why: "Release and Done do not compare the fence",
		edits: one(`clientv3.Compare(clientv3.CreateRevision(c.keys.owner(claim.TaskID)), "=", int64(claim.Fence))`,
			`clientv3.Compare(clientv3.CreateRevision(c.keys.owner(claim.TaskID)), ">", 0)`),
	},
	{
		name: "done-leaves-owner", file: claimGo,
		why:   "Done removes the task and not its owner",
		edits: one(`o.then = append(o.then,`, `o.then = append(o.then[:0],`),
	},
	{
		name: "late-reply-frees", file: claimGo,
		why:   "the reply to a Release overrides a later owner of which the watch has told",
		edits: one(`if out.rev > e.ownerRev {`, `if out.held {`),
	},
	{
		name: "done-guessed", file: claimGo,
		why:   "an uncertain Done counts as done although the task is still there",
		edits: one(`case !out.held && (!out.uncertain || done && h.stillSubmitted(out)):`, `case !out.held && !out.uncertain:`),
	},
}

var ofWatching = []mutant{
	{
		name: "announced-once", file: indexGo,
		why:   "a task is announced once, and not when it has lost its owner",
		edits: one(`if fence != e.fence {`, `if fence != e.fence && !e.announced {`),
	},
	{
		name: "stale-watch", file: indexGo,
		why:   "what the watch tells late overrides what a reply has told already",
		edits: one(`if kv.ModRevision <= e.ownerRev {`, `if kv.ModRevision < 0 {`),
	},
	{
		name: "stale-delete", file: indexGo,
		why:   "an owner that went long ago takes the present one along",
		edits: one(`if owner && rev >= e.ownerRev {`, `if owner {`),
	},
	{
		name: "list-keeps-owners", file: indexGo,
		why:   "an owner that a list after a compaction lacks stays",
		edits: one(`if ownerGone {`, `if ownerGone && taskGone {`),
	},
	{
		name: "list-keeps-tasks", file: indexGo,
		why:   "a task that a list after a compaction lacks stays",
		edits: one(`if taskGone {`, `if taskGone && ownerGone {`),
	},
	{
		name: "no-list-after-compaction", file: watchGo,
		why:   "a watch that has hit a compacted revision goes on at the next one there is",
		edits: one(`err = f.list(ctx, true)`, "f.rev, err = f.rev+1, nil"),
	},
	{
		name: "watch-skips-one", file: watchGo,
		why:   "a watch begins one revision too late",
		edits: one(`clientv3.WithRev(f.rev+1)`, `clientv3.WithRev(f.rev+2)`),
	},
	{
		name: "watch-not-restarted", file: watchGo,
		why:   "a watch whose channel was closed is not opened again",
		edits: one(`return errors.New("watch channel closed")`, "<-ctx.Done()\n\t\t\t\treturn ctx.Err()"),
	},
	{
		name: "watch-error-ignored", file: watchGo,
		why:   "the error with which etcd ends a watch is not looked at: a compaction goes unnoticed",
		edits: one(`if err := resp.Err(); err != nil {`, `if err := resp.Err(); err != nil && !resp.Canceled {`),
	},
	{
		name: "loss-not-told", file: claimGo,
		why:   "a claim that the watch tells to be over is not reported lost",
		edits: one("\t\tc.cc.Lost(claim, cause)\n", ""),
	},
	{
		name: "members-stay", file: membersGo,
		why:   "a node that has left stays in the view of the others",
		edits: one(`m.known = slices.Delete(m.known, i, i+1)`, `_ = i`),
	},
	{
		name: "listed-members-stay", file: membersGo,
		why:   "a node that has left while history was compacted stays",
		edits: one(`return !listed[mb.node.Name] && mb.rev <= rev`, `return false && mb.rev <= rev`),
	},
	{
		name: "list-of-commands-lost", file: watchGo,
		why:   "commands that are listed and not watched are not seen",
		edits: one("\t\t\t\tc.inbox.listed(kvs)\n", ""),
	},
}

var ofLeases = []mutant{
	{
		name: "no-margin", file: leaseGo,
		why:   "the node stops its handlers when the lease ends, not a margin before",
		edits: one(`return r.ttl - s.margin - passed`, `return r.ttl - passed`),
	},
	{
		name: "no-self-fencing", file: leaseGo,
		why:   "the node trusts its lease until the broker says that it is gone",
		edits: one(`return r.ttl - s.margin - passed`, `return r.ttl - s.margin - passed + time.Hour`),
	},
	{
		name: "renewed-when-answered", file: leaseGo,
		why:   "a renewal counts from when it was answered, not from when it was sent",
		edits: one(`s.renew.Store(newRenewal(sent, resp.TTL))`, `s.renew.Store(newRenewal(time.Now(), resp.TTL))`),
	},
	{
		name: "lease-loss-not-told", file: leaseGo,
		why:   "claims that end with the lease are not reported lost",
		edits: one("\t\tc.cc.Lost(claim, cause)\n", "\t\t_ = claim\n"),
	},
	{
		name: "not-rejoining", file: leaseGo,
		why:   "a node whose lease was lost does not get another",
		edits: one(`s = c.rejoin()`, `return`),
	},
	{
		name: "old-session", file: leaseGo,
		why:   "a node that has rejoined goes on claiming on the lease that it has lost",
		edits: one("\t\t\tc.session.Store(s)\n\t\t\ts.suspect()", "\t\t\ts.suspect()"),
	},
	{
		name: "name-taken-over", file: leaseGo,
		why: "a node that finds its name registered takes it over",
		edits: one(`if kv != nil && !slices.Contains(s.own, clientv3.LeaseID(kv.Lease)) {`,
			`if kv != nil && len(s.own) == 0 {`),
	},
	{
		name: "name-not-compared", file: leaseGo,
		why: "a registration does not compare what is there",
		edits: one(`clientv3.Compare(clientv3.ModRevision(key), "=", s.known.Load())`,
			`clientv3.Compare(clientv3.ModRevision(key), "!=", -1)`),
	},
	{
		name: "lease-left-behind", file: coordinatorGo,
		why:   "a node that leaves does not revoke its lease, and stays registered",
		edits: one("\t\tc.revoke(context.Background(), s)\n", ""),
	},
	{
		name: "revoked-while-running", file: coordinatorGo,
		why:   "a node that leaves revokes its lease although a handler is stuck and runs on",
		edits: one(`if c.tasks.holdsAny() {`, `if c.tasks == nil {`),
	},
}

var ofWrites = []mutant{
	{
		name: "uncertainty-forgotten", file: groupcommitGo,
		why:   "a write that is repeated because its reply was lost takes its own traces for somebody else's",
		edits: one(`p.uncertain = p.uncertain || !refused`, `p.uncertain = false`),
	},
	{
		name: "submit-repeated", file: clientGo,
		why:   "a submission whose reply was lost is sent again, though the task may be done by now",
		edits: one(`once: true,`, `once: false,`),
	},
	{
		name: "submit-replaces", file: clientGo,
		why: "a submission does not compare that there is no task",
		edits: one(`cmps:    []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", 0)},`,
			`cmps:    []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "!=", -1)},`),
	},
	{
		name: "submit-guessed", file: clientGo,
		why:   "a submission whose reply was lost counts as made where any task of that ID is there",
		edits: one(`if err == nil && len(resp.Kvs) > 0 && string(resp.Kvs[0].Value) == w.value {`, `if err == nil && len(resp.Kvs) > 0 {`),
	},
	{
		name: "command-stays", file: commandsGo,
		why:   "a command is not removed, so that the node gets it again after a restart",
		edits: one(`then: []clientv3.Op{clientv3.OpDelete(l.key)},`, `then: []clientv3.Op{clientv3.OpGet(l.key)},`),
	},
	{
		name: "command-dropped", file: commandsGo,
		why:   "a command whose removal was not answered is taken for one that another has taken",
		edits: one(`return out.held || out.uncertain || l.tried, nil`, `return out.held && !out.uncertain, nil`),
	},
}
