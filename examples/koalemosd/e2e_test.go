//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/metafora-go/metafora"
)

// TestCluster runs the real programs with real signals. Its parts run at the
// same time, as they mostly wait.
func TestCluster(t *testing.T) {
	dir := programs(t)
	for name, test := range map[string]func(*testing.T, string){
		"NodesShareTasksAndSIGTERMMovesThem":       nodesShareTasksAndSIGTERMMovesThem,
		"SIGKILLMovesTasksWithoutOverlap":          sigkillMovesTasksWithoutOverlap,
		"SIGSTOPPastTheLeaseMovesTasks":            sigstopPastTheLeaseMovesTasks,
		"RevokedLeaseMovesTasksWithoutOverlap":     revokedLeaseMovesTasksWithoutOverlap,
		"CommandLineManagesTasksAndNodes":          commandLineManagesTasksAndNodes,
		"DevelopmentModeIsAllThatIsNeeded":         developmentModeIsAllThatIsNeeded,
		"DemoShowsFailover":                        demoShowsFailover,
		"TakenNameIsRefused":                       takenNameIsRefused,
		"UnreachableEtcdIsNamed":                   unreachableEtcdIsNamed,
		"StatefulTasksObeyTheCommandLine":          statefulTasksObeyTheCommandLine,
		"RestartedNodeTakesItsNameBackAfterACrash": restartedNodeTakesItsNameBackAfterACrash,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, dir)
		})
	}
}

// shortLease makes a node's tasks move soon after it died.
var shortLease = []string{"-ttl", "3s", "-margin", "1s"}

// longLease outlasts the patience of the tests: what happens with it does not
// happen since a lease ended.
var longLease = []string{"-ttl", "10m", "-margin", "10s"}

func nodesShareTasksAndSIGTERMMovesThem(t *testing.T, programs string) {
	c := newCluster(t, programs)
	a, _, _ := c.start(t, "a", longLease...), c.start(t, "b", longLease...), c.start(t, "c", longLease...)
	eventually(t, "three nodes are up", func() bool {
		nodes, err := c.client.Nodes(t.Context())
		return err == nil && len(nodes) == 3
	})
	c.submit(t, "shared", 12)
	// A node that knows of another one late gives it its share then.
	eventually(t, "each node has a task", func() bool {
		j := readJournal(t, c.work)
		return len(j.on("a")) > 0 && len(j.on("b")) > 0 && len(j.on("c")) > 0
	})
	c.settle(t, 12, "a", "b", "c")

	a.signal(t, syscall.SIGTERM)
	if status := a.wait(t); status != 0 {
		t.Errorf("exit status %d after SIGTERM", status)
	}
	c.settle(t, 12, "b", "c")
}

func sigkillMovesTasksWithoutOverlap(t *testing.T, programs string) {
	c := newCluster(t, programs)
	a := c.start(t, "a", shortLease...)
	c.submit(t, "crash", 4)
	c.settle(t, 4, "a")
	c.start(t, "b", shortLease...)
	a.signal(t, syscall.SIGKILL)
	c.settle(t, 4, "b") // the journal has no overlap: the guard killed them
}

func sigstopPastTheLeaseMovesTasks(t *testing.T, programs string) {
	c := newCluster(t, programs)
	a := c.start(t, "a", shortLease...)
	c.submit(t, "pause", 4)
	c.settle(t, 4, "a")
	b := c.start(t, "b", shortLease...)
	a.signal(t, syscall.SIGSTOP)
	before := c.settle(t, 4, "b")

	a.signal(t, syscall.SIGCONT)
	b.signal(t, syscall.SIGTERM)
	after := c.settle(t, 4, "a") // it has joined again, with a new lease
	for task, nodes := range after {
		if len(nodes) <= len(before[task]) {
			t.Errorf("task %s did not start again on a: %v, before: %v", task, nodes, before[task])
		}
	}
}

func revokedLeaseMovesTasksWithoutOverlap(t *testing.T, programs string) {
	c := newCluster(t, programs)
	c.start(t, "a", shortLease...)
	c.submit(t, "revoke", 4)
	before := c.settle(t, 4, "a")

	leases, err := c.etcd.Leases(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases.Leases {
		if _, err := c.etcd.Revoke(t.Context(), l.ID); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all tasks started again", func() bool {
		after := readJournal(t, c.work)
		for task := range before {
			if len(after[task]) < 2 {
				return false
			}
		}
		return true
	})
	c.settle(t, 4, "a")
}

func commandLineManagesTasksAndNodes(t *testing.T, programs string) {
	c := newCluster(t, programs)
	c.start(t, "a", longLease...)
	c.submit(t, "managed", 2)
	c.settle(t, 2, "a")
	ctl := func(args ...string) string {
		t.Helper()
		out, err := c.ctl(t, args...)
		if err != nil {
			t.Fatalf("koalemosctl %q: %v", args, err)
		}
		return out
	}

	var infos []metafora.TaskInfo
	if err := json.Unmarshal([]byte(ctl("tasks", "-json")), &infos); err != nil {
		t.Fatal(err)
	}
	if len(infos) != 2 || infos[0].ID != "managed/0" || infos[0].Owner != "a" || infos[0].Fence == 0 {
		t.Errorf("tasks are %+v", infos)
	}
	if out := ctl("nodes"); !strings.Contains(out, "\na ") {
		t.Errorf("nodes are\n%s", out)
	}

	ctl("command", "a", "stop_task", "managed/1")
	eventually(t, "the stopped task runs again", func() bool {
		return len(readJournal(t, c.work)["managed/1"]) == 2
	})
	ctl("delete", "managed/0")
	c.start(t, "b", longLease...)
	ctl("command", "a", "drain")
	eventually(t, "b has what was left to a", func() bool {
		return readJournal(t, c.work).last("managed/1") == "b"
	})
	if out := ctl("tasks"); strings.Contains(out, "managed/0") || !strings.Contains(out, "managed/1") {
		t.Errorf("tasks are\n%s", out)
	}

	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"delete", "managed/0"}, "managed/0"},
		{[]string{"submit", "-id", "managed/1", "--", "true"}, "managed/1"},
		{[]string{"command", "nobody", "freeze"}, "nobody"},
	} {
		if _, err := c.ctl(t, tc.args...); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("koalemosctl %q: want an error that names %s, got %v", tc.args, tc.want, err)
		}
	}
}

func statefulTasksObeyTheCommandLine(t *testing.T, programs string) {
	c := newCluster(t, programs)
	flags := slices.Concat(longLease, []string{"-stateful", "-backoff", "10ms", "-max-backoff", "10ms", "-failures", "2"})
	a := c.start(t, "a", flags...)
	ctl := func(args ...string) string {
		t.Helper()
		out, err := c.ctl(t, args...)
		if err != nil {
			t.Fatalf("koalemosctl %q: %v", args, err)
		}
		return out
	}
	wantState := func(id, want string) {
		t.Helper()
		eventually(t, id+" is "+want, func() bool {
			out, err := c.ctl(t, "state", id)
			return err == nil && strings.Contains(out, " "+want)
		})
	}

	c.submit(t, "stateful", 1)
	c.settle(t, 1, "a")
	ctl("pause", "stateful/0")
	wantState("stateful/0", "paused")
	ctl("resume", "stateful/0")
	wantState("stateful/0", "runnable")
	ctl("pause", "stateful/0")
	wantState("stateful/0", "paused")
	if j := readJournal(t, c.work); len(j["stateful/0"]) != 1 {
		t.Errorf("a command that was resumed on its node has started more than once: %v", j)
	}

	ctl("submit", "-id", "bad", "--", "sh", "-c", "exit 3")
	wantState("bad", "failed")
	if out := ctl("state", "bad"); strings.Count(out, "exit status 3") != 2 {
		t.Errorf("the failures are not shown:\n%s", out)
	}

	ticks := filepath.Join(t.TempDir(), "ticks")
	ctl("-id", "tick", "-at", "+1h", "-every", "1s", "sh", "-c", `echo tick >> "$0"`, ticks)
	wantState("tick", "sleeping until")
	ctl("-id", "tock", "-at", "+1s", "-every", "1s", "sh", "-c", `echo tock >> "$0"`, ticks)
	eventually(t, "the scheduled command has run three times", func() bool {
		text, err := os.ReadFile(ticks)
		return err == nil && strings.HasPrefix(string(text), "tock\ntock\ntock\n")
	})
	ctl("kill", "tock")
	wantState("tock", "killed")

	c.start(t, "b", flags...)
	a.signal(t, syscall.SIGTERM)
	if status := a.wait(t); status != 0 {
		t.Errorf("exit status %d after SIGTERM", status)
	}
	eventually(t, "b has the paused task", func() bool {
		info, err := c.client.Task(t.Context(), "stateful/0")
		return err == nil && info.Owner == "b"
	})
	wantState("stateful/0", "paused")
	wantState("tick", "sleeping until")
	ctl("resume", "stateful/0", "tick")
	eventually(t, "b runs the resumed task", func() bool {
		return readJournal(t, c.work).last("stateful/0") == "b"
	})
	ctl("kill", "stateful/0")
	wantState("stateful/0", "killed")
	if out := ctl("tasks"); !strings.Contains(out, "tick") || strings.Contains(out, "stateful/0") {
		t.Errorf("tasks are\n%s", out)
	}
}

func developmentModeIsAllThatIsNeeded(t *testing.T, programs string) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	output := t.TempDir()
	n := startKoalemosd(t, programs, "dev", w, "-dev", "-etcd", "127.0.0.1:0", "-output", output)
	_ = w.Close()
	said := bufio.NewReader(r)
	line, err := said.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	endpoint := line[strings.Index(line, "http://") : len(line)-1]
	for hint := ""; !strings.Contains(hint, "koalemosctl -etcd "+endpoint+" sleep 60"); {
		if hint, err = said.ReadString('\n'); err != nil {
			t.Fatalf("koalemosd does not say how to submit a command: %v", err)
		}
	}

	id, err := koalemosctl(t, programs, "-etcd", endpoint, "sh", "-c", "echo did it")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the command is done", func() bool {
		out, err := koalemosctl(t, programs, "-etcd", endpoint, "tasks", "-json")
		return err == nil && strings.TrimSpace(out) == "[]"
	})
	text, err := os.ReadFile(filepath.Join(output, strings.TrimSpace(id)+".log"))
	if err != nil || !strings.Contains(string(text), "\ndid it\n") {
		t.Errorf("output is %q (%v)", text, err)
	}
	n.signal(t, syscall.SIGINT)
	if status := n.wait(t); status != 0 {
		t.Errorf("exit status %d after SIGINT", status)
	}
}

// story is what a demo tells. Once it tells of the second node that ends, the tasks
// may end, too.
type story struct {
	strings.Builder
	t    *testing.T
	file string // whose presence ends the tasks
}

func (s *story) Write(line []byte) (int, error) {
	if strings.Contains(string(line), "asked to end") {
		if err := os.WriteFile(s.file, nil, 0o600); err != nil {
			s.t.Error(err)
		}
	}
	return s.Builder.Write(line)
}

func demoShowsFailover(t *testing.T, programs string) {
	c := newCluster(t, programs)
	told := &story{t: t, file: filepath.Join(t.TempDir(), "end")}
	d := &demo{
		client: c.client, endpoint: c.endpoint, namespace: namespace, output: t.TempDir(), out: told,
		program: filepath.Join(programs, "koalemosd"),
		command: []string{"sh", "-c", `until [ -e "$0" ]; do sleep 0.05; done`, told.file},
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := d.run(ctx); err != nil {
		t.Error(err)
	}
	before, after, _ := strings.Cut(told.String(), " is killed: ")
	moved, _, _ := strings.Cut(after, " is asked to end: ")
	if n := strings.Count(before, " runs on "); n != demoTasks {
		t.Errorf("%d tasks run at first, want %d", n, demoTasks)
	}
	if n := strings.Count(moved, " runs on "); n < demoTasks/3 {
		t.Errorf("%d tasks move after the kill, the busiest node of three had more", n)
	}
	if n := strings.Count(after, " is done"); n != demoTasks {
		t.Errorf("%d tasks are done, want %d", n, demoTasks)
	}
	if !strings.Contains(after, "all tasks are done") {
		t.Error("there is no end")
	}
	if t.Failed() {
		t.Log(told)
	}
}

func takenNameIsRefused(t *testing.T, programs string) {
	c := newCluster(t, programs)
	c.start(t, "a", longLease...)
	eventually(t, "the node is up", func() bool {
		nodes, err := c.client.Nodes(t.Context())
		return err == nil && len(nodes) == 1
	})
	second := c.start(t, "a", slices.Concat(longLease, []string{"-name-wait", "100ms"})...)
	if status := second.wait(t); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	if log := second.log(t); !strings.Contains(log, metafora.ErrNodeExists.Error()) {
		t.Errorf("log does not say that the name is taken:\n%s", log)
	}
}

func restartedNodeTakesItsNameBackAfterACrash(t *testing.T, programs string) {
	c := newCluster(t, programs)
	first := c.start(t, "a", shortLease...)
	c.submit(t, "restart", 2)
	c.settle(t, 2, "a")
	first.signal(t, syscall.SIGKILL)
	first.wait(t)
	c.start(t, "a", shortLease...)
	eventually(t, "both tasks started again", func() bool {
		j := readJournal(t, c.work)
		return len(j["restart/0"]) == 2 && len(j["restart/1"]) == 2
	})
}

func unreachableEtcdIsNamed(t *testing.T, programs string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	silent, refused := l.Addr().String(), "127.0.0.1:1"
	for address, want := range map[string]string{silent: silent, refused: "connection refused"} {
		if _, err := koalemosctl(t, programs, "-etcd", address, "-timeout", "500ms", "tasks"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("koalemosctl does not name %s: %v", want, err)
		}
	}
	n := startKoalemosd(t, programs, "lonely", nil, "-etcd", silent)
	if status := n.wait(t); status != 1 {
		t.Errorf("koalemosd exits with %d, want 1", status)
	}
	if log := n.log(t); !strings.Contains(log, silent) {
		t.Errorf("koalemosd does not name %s:\n%s", silent, log)
	}
}
