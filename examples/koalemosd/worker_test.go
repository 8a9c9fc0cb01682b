//go:build unix

package main

import (
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// workerArg makes the test program a worker, a command that tells a test where
// it runs, and whether it runs twice at a time.
const workerArg = "work-until-stopped"

const journalName = "journal"

// work is the worker's process. It holds a lock for its task, which the kernel
// frees when the process ends however it ends, and writes a line to a journal.
func work(dir string) (status int) {
	task, node := os.Getenv("METAFORA_TASK"), os.Getenv("METAFORA_NODE")
	lock, err := os.OpenFile(filepath.Join(dir, url.PathEscape(task)+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return complain(err)
	}
	line := fmt.Sprintf("%s\t%s\n", task, node)
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		line = fmt.Sprintf("%s\toverlap on %s: %v\n", task, node, err)
	}
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	journal, err := os.OpenFile(filepath.Join(dir, journalName), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return complain(err)
	}
	if _, err := journal.WriteString(line); err != nil {
		return complain(err)
	}
	<-terminated
	return 0
}

func complain(err error) (status int) {
	fmt.Fprintln(os.Stderr, "worker:", err)
	return 1
}

// journal tells on which nodes each task has run, in order.
type journal map[string][]string

// readJournal reads what the workers wrote. It fails the test if a task ever ran
// twice at a time.
func readJournal(t *testing.T, dir string) journal {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, journalName))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	j := journal{}
	for line := range strings.Lines(string(text)) {
		task, node, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if strings.HasPrefix(node, "overlap") {
			t.Fatalf("task %s: %s", task, node)
		}
		j[task] = append(j[task], node)
	}
	return j
}

// last returns where a task was started most recently.
func (j journal) last(task string) string {
	nodes := j[task]
	if len(nodes) == 0 {
		return ""
	}
	return nodes[len(nodes)-1]
}

// on returns the tasks that were last started on one of the nodes, sorted.
func (j journal) on(nodes ...string) []string {
	var tasks []string
	for task := range j {
		if slices.Contains(nodes, j.last(task)) {
			tasks = append(tasks, task)
		}
	}
	slices.Sort(tasks)
	return tasks
}
