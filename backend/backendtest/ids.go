package backendtest

import (
	"errors"
	"slices"
	"strings"

	"github.com/metafora-go/metafora"
)

func idChecks() []check {
	return []check{
		{"AwkwardTaskIDsWork", awkwardTaskIDsWork},
		{"AwkwardTaskIDsStayApart", awkwardTaskIDsStayApart},
		{"AwkwardNodeNamesWork", awkwardNodeNamesWork},
		{"InvalidTaskIDsAreRefused", invalidTaskIDsAreRefused},
		{"InvalidNodeNamesAreRefused", invalidNodeNamesAreRefused},
		{"NamespacesStayApart", namespacesStayApart},
	}
}

// awkwardIDs are valid, though each could collide with another, with a
// backend's own keys, or with the syntax of paths, URLs, JSON and globs. Sorted.
func awkwardIDs() []string {
	ids := []string{
		"a", "a/", "/a", "/", "//", "a/b", "a//b", "a%2Fb", "a%2fb", "%2F", "%", "%%", "100%", "a/b/c",
		".", "..", "...", "./a", "../a", "a/..", "a/../b",
		"owner", "props", "tasks", "nodes", "state", "commands", "a/owner", "a/props", "owner/owner", "tasks/a",
		" ", "a b", " a", "a ", "a+b", "a?b=c&d#e", "a:b", "a,b", "a;b", "a|b", "a*", "?", "[a]", "{a}", "~", "$HOME", "`a`",
		`"a"`, "'a'", `a\b`, `\`, `\u0041`, "<a>", "null", "0", "-1", "A",
		"日本語", "é", "e\u0301", "\u2028", "\U0010ffff", "🚀", "ﷺ",
		strings.Repeat("x", metafora.MaxIDLen), strings.Repeat("/", metafora.MaxIDLen), strings.Repeat("é", metafora.MaxIDLen/2),
	}
	slices.Sort(ids)
	return ids
}

// invalidIDs are those that [metafora.ValidateID] refuses.
func invalidIDs() []string {
	return []string{
		"", strings.Repeat("x", metafora.MaxIDLen+1), strings.Repeat("é", metafora.MaxIDLen),
		"a\x00b", "a\nb", "\t", "\x7f", "a\u0085b", "\xff", "a\xc3",
	}
}

// All awkward IDs go through the whole life of a task, all at once.
func awkwardTaskIDsWork(c *cluster) {
	ids := awkwardIDs()
	c.submitMany(ids[:len(ids)/2])
	a := c.join("a", NodeOptions{})
	c.submit(ids[len(ids)/2:]...)
	claims := a.takeAll(ids)

	infos, err := c.client.Tasks(c.ctx)
	c.must("list tasks", err)
	if got := idsOf(infos); !slices.Equal(got, ids) {
		c.t.Fatalf("listed %q, want %q", got, ids)
	}
	for i, id := range ids {
		if claims[i].TaskID != id {
			c.t.Fatalf("claim of %q says %q", id, claims[i].TaskID)
		}
		c.wantOwner(claims[i])
		if err := c.client.SubmitTask(c.ctx, metafora.NewTask(id)); !errors.Is(err, metafora.ErrTaskExists) {
			c.t.Fatalf("submit %q again: error %v, want %v", id, err, metafora.ErrTaskExists)
		}
	}
	for i, id := range ids {
		switch i % 3 {
		case 0:
			c.must("done", a.Done(c.ctx, claims[i]))
		case 1:
			c.must("delete", c.client.DeleteTask(c.ctx, id))
			a.awaitLost(claims[i])
		default:
			c.must("release", a.Release(c.ctx, claims[i]))
			c.must("done", a.Done(c.ctx, a.take(id)))
		}
	}
	infos, err = c.client.Tasks(c.ctx)
	c.must("list tasks", err)
	if len(infos) != 0 {
		c.t.Fatalf("tasks are left: %q", idsOf(infos))
	}
}

// What happens to one task must not touch those whose ID is a part of its own,
// or would be the same once escaped, unescaped, cleaned or normalised.
func awkwardTaskIDsStayApart(c *cluster) {
	a := c.join("a", NodeOptions{})
	for _, id := range awkwardIDs() {
		_, err := c.client.Task(c.ctx, id)
		c.wantError("look up a task that is not there", err, metafora.ErrNoTask, "")
		c.submit(id)
		a.awaitClaimable(id, true)
		for _, other := range []string{id + "/owner", id + "/", id + "0", "0" + id, "/" + id} {
			if metafora.ValidateID(other) == nil && a.Claimable(other) {
				c.t.Fatalf("task %q makes %q claimable", id, other)
			}
		}
		claim := a.take(id)
		infos, err := c.client.Tasks(c.ctx)
		c.must("list tasks", err)
		if got := idsOf(infos); !slices.Equal(got, []string{id}) {
			c.t.Fatalf("listed %q, want %q alone", got, id)
		}
		c.must("done", a.Done(c.ctx, claim))
	}
	owned := []string{"x", "x/owner", "x/", "x/owner/owner"}
	c.submit(owned...)
	claims := a.takeAll(owned)
	c.must("done", a.Done(c.ctx, claims[0]))
	for _, claim := range claims[1:] {
		c.wantOwner(claim)
	}
}

func awkwardNodeNamesWork(c *cluster) {
	names := awkwardIDs()
	a := c.join("observer", NodeOptions{})
	for _, name := range names {
		n := c.joinBlind(name, NodeOptions{})
		if n.Name() != name {
			c.t.Fatalf("the node %q is called %q", name, n.Name())
		}
		c.must("submit a command", c.client.SubmitCommand(c.ctx, name, metafora.StopTask(name)))
		cmd, err := n.command()
		c.must("command", err)
		if cmd.TaskID() != name {
			c.t.Fatalf("node %q got a command about %q", name, cmd.TaskID())
		}
	}
	all := append(names, "observer")
	slices.Sort(all)
	nodes, err := c.client.Nodes(c.ctx)
	c.must("list nodes", err)
	if got := namesOf(nodes); !slices.Equal(got, all) {
		c.t.Fatalf("listed %q, want %q", got, all)
	}
	if s, ok := a.Coordinator.(metafora.ClusterState); ok {
		c.await("the observer knows all nodes", func() bool { return slices.Equal(namesOf(s.Nodes()), all) })
	}
}

func invalidTaskIDsAreRefused(c *cluster) {
	a := c.join("a", NodeOptions{})
	for _, id := range invalidIDs() {
		if err := c.client.SubmitTask(c.ctx, metafora.NewTask(id)); !errors.Is(err, metafora.ErrInvalidID) {
			c.t.Errorf("submit %.20q: error %v, want one that wraps %q", id, err, metafora.ErrInvalidID)
		}
		if _, err := c.client.Task(c.ctx, id); err == nil {
			c.t.Errorf("look up %.20q: no error", id)
		}
		if err := c.client.DeleteTask(c.ctx, id); err == nil {
			c.t.Errorf("delete %.20q: no error", id)
		}
		if _, err := a.Claim(c.ctx, metafora.NewTask(id)); err == nil {
			c.t.Errorf("claim %.20q: no error", id)
		}
		if a.Claimable(id) {
			c.t.Errorf("%.20q is claimable", id)
		}
	}
	if err := c.client.SubmitTask(c.ctx, nil); !errors.Is(err, metafora.ErrInvalidID) {
		c.t.Errorf("submit no task: error %v, want one that wraps %q", err, metafora.ErrInvalidID)
	}
	infos, err := c.client.Tasks(c.ctx)
	c.must("list tasks", err)
	if len(infos) != 0 {
		c.t.Errorf("tasks were stored: %q", idsOf(infos))
	}
}

// "It fails ... with ErrInvalidID when no node can" have this name.
func invalidNodeNamesAreRefused(c *cluster) {
	for _, name := range invalidIDs() {
		n := c.open(name, NodeOptions{})
		if err := n.init(); !errors.Is(err, metafora.ErrInvalidID) {
			c.t.Errorf("init of a node %.20q: error %v, want one that wraps %q", name, err, metafora.ErrInvalidID)
		}
		if err := c.client.SubmitCommand(c.ctx, name, metafora.Freeze()); err == nil {
			c.t.Errorf("submit a command to a node %.20q: no error", name)
		}
	}
	nodes, err := c.client.Nodes(c.ctx)
	c.must("list nodes", err)
	if len(nodes) != 0 {
		c.t.Errorf("nodes joined: %q", namesOf(nodes))
	}
}

// A namespace must see nothing of one whose name begins with its own, nor the
// other way round, be it tasks, claims, nodes or commands of the same names.
func namespacesStayApart(c *cluster) {
	c.need("Extend", c.Extend != nil)
	longer := clusterOf(c.t, c.h, c.ctx, c.Extend(c.t, "b"))
	for _, cl := range []*cluster{c, longer} {
		cl.submit("same")
	}
	c.submit("mine")
	longer.submit("b/mine", "/mine")
	a, b := c.join("node", NodeOptions{}), longer.join("node", NodeOptions{})
	mine, theirs := a.take("same"), b.take("same")
	c.must("submit a command", c.client.SubmitCommand(c.ctx, "node", metafora.Freeze()))
	c.must("submit a command", longer.client.SubmitCommand(c.ctx, "node", metafora.Drain()))
	for _, want := range []struct {
		*cluster
		node    *node
		tasks   []string
		command string
	}{
		{c, a, []string{"mine", "same"}, metafora.CommandFreeze},
		{longer, b, []string{"/mine", "b/mine", "same"}, metafora.CommandDrain},
	} {
		infos, err := want.client.Tasks(c.ctx)
		c.must("list tasks", err)
		if got := idsOf(infos); !slices.Equal(got, want.tasks) {
			c.t.Errorf("listed the tasks %q, want %q", got, want.tasks)
		}
		nodes, err := want.client.Nodes(c.ctx)
		c.must("list nodes", err)
		if got := namesOf(nodes); !slices.Equal(got, []string{"node"}) {
			c.t.Errorf("listed the nodes %q, want one", got)
		}
		cmd, err := want.node.command()
		c.must("command", err)
		if cmd.Name != want.command {
			c.t.Errorf("got the command %q, want %q", cmd.Name, want.command)
		}
		want.node.awaitTasks(0, want.tasks)
		for _, e := range want.journal.since(0, want.node.said(announced)) {
			if !slices.Contains(want.tasks, e.id) {
				c.t.Errorf("task %q of the other namespace was announced", e.id)
			}
		}
	}
	c.must("done", a.Done(c.ctx, mine))
	c.wantGone("same")
	longer.wantOwner(theirs)
}

func idsOf(infos []metafora.TaskInfo) []string {
	ids := make([]string, len(infos))
	for i, info := range infos {
		ids[i] = info.ID
	}
	return ids
}

func namesOf(nodes []metafora.Node) []string {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name
	}
	return names
}
