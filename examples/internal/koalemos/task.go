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
)

// Task is a command to run.
type Task struct {
	id string
	// Args are the name of the program and its arguments. No shell is
	// involved; where one is wanted it is the program: sh -c "...".
	Args []string `json:"args"`
}

var _ metafora.Task = (*Task)(nil)

// NewTask makes a task of a command. An empty id stands for the program's name
// with something random appended.
func NewTask(id string, args ...string) (*Task, error) {
	if len(args) == 0 || args[0] == "" {
		return nil, errors.New("no command to run")
	}
	if id == "" {
		id = filepath.Base(args[0]) + "-" + strings.ToLower(rand.Text()[:8])
	}
	return &Task{id: id, Args: args}, metafora.ValidateID(id)
}

// ID implements metafora.Task.
func (t *Task) ID() string { return t.id }

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
	var t Task
	if err := json.Unmarshal(props, &t); err != nil {
		return nil, fmt.Errorf("no command: %w", err)
	}
	if len(t.Args) == 0 || t.Args[0] == "" {
		return nil, errors.New("no command to run")
	}
	t.id = id
	return &t, nil
}
