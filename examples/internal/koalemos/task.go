// Package koalemos is what koalemosd and koalemosctl share: the task that is an
// operating-system command, and the flags that say where etcd is.
package koalemos

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/balance"
)

// Task is a command to run.
type Task struct {
	id string
	// Args are the name of the program and its arguments. No shell is
	// involved; where one is wanted it is the program: sh -c "...".
	Args []string `json:"args"`
	Schedule
}

var _ balance.Labeled = (*Task)(nil)

// LabelStateful is the label of nodes that keep the states of tasks, and its
// value.
const (
	LabelStateful = "stateful"
	StatefulYes   = "yes"
)

// NewTask makes a task of a command. An empty id stands for the program's name
// with something random appended.
func NewTask(id string, args ...string) (*Task, error) {
	return NewScheduledTask(id, Schedule{}, args...)
}

// NewScheduledTask is NewTask for a command that does not just run once and now.
func NewScheduledTask(id string, when Schedule, args ...string) (*Task, error) {
	if id == "" && len(args) > 0 {
		id = filepath.Base(args[0]) + "-" + strings.ToLower(rand.Text()[:8])
	}
	t := &Task{id: id, Args: args, Schedule: when}
	if err := t.validate(); err != nil {
		return nil, err
	}
	return t, metafora.ValidateID(id)
}

func (t *Task) validate() error {
	if len(t.Args) == 0 || t.Args[0] == "" {
		return errors.New("no command to run")
	}
	return t.Schedule.validate()
}

// ID implements metafora.Task.
func (t *Task) ID() string { return t.id }

// Labels implements balance.Labeled: a command with a schedule needs a node that
// keeps states, since any other would run it at once, and once.
func (t *Task) Labels() map[string]string {
	if t.At.IsZero() && t.Every == 0 {
		return nil
	}
	return map[string]string{LabelStateful: StatefulYes}
}

// String returns the command as a person would type it.
func (t *Task) String() string {
	words := make([]string, len(t.Args))
	for i, arg := range t.Args {
		words[i] = arg
		if arg == "" || strings.ContainsFunc(arg, needsQuotes) {
			words[i] = strconv.Quote(arg)
		}
	}
	return strings.Join(words, " ")
}

func needsQuotes(r rune) bool {
	return !unicode.IsPrint(r) || strings.ContainsRune(" \"'\\$`", r)
}

// DecodeTask is the metafora.TaskFunc of commands.
func DecodeTask(id string, props []byte) (metafora.Task, error) {
	t := &Task{id: id}
	if err := json.Unmarshal(props, t); err != nil {
		return nil, fmt.Errorf("not a command: %w", err)
	}
	if err := t.validate(); err != nil {
		return nil, err
	}
	return t, nil
}
