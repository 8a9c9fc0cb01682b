package metafora

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Task is a unit of work. The broker knows it by its ID; everything else about
// it, its properties, is the JSON encoding of the value that was submitted.
type Task interface {
	// ID names the task; it is unique within a namespace of the broker and
	// never changes. See [ValidateID] for what it may hold.
	ID() string
}

// TaskFunc turns a task's stored properties back into a Task. The ID of the
// returned Task must be id. Backends call it once for each announcement, from
// one goroutine at a time. An error, a panic or a nil Task is logged with the
// ID and the task is skipped until it is next announced: it never stops the
// node. props must not be retained or modified.
type TaskFunc func(id string, props []byte) (Task, error)

// NewTask returns the plainest Task: an ID without properties. Two of them with
// one ID are equal.
func NewTask(id string) Task { return plainTask(id) }

// PlainTask is the TaskFunc of tasks made by [NewTask]; it ignores properties.
func PlainTask(id string, _ []byte) (Task, error) { return NewTask(id), nil }

type plainTask string

func (t plainTask) ID() string                 { return string(t) }
func (t plainTask) String() string             { return string(t) }
func (plainTask) MarshalJSON() ([]byte, error) { return []byte("{}"), nil }

// MaxIDLen is the length limit of the IDs of tasks and the names of nodes, in
// bytes.
const MaxIDLen = 512

// ValidateID returns an error that wraps [ErrInvalidID] and names the ID unless
// id can name a task or a node. It must have 1 to [MaxIDLen] bytes of UTF-8
// without control characters. Slashes, spaces, dots and letters of any script
// are fine.
func ValidateID(id string) error {
	switch {
	case id == "":
		return fmt.Errorf("%w: empty", ErrInvalidID)
	case len(id) > MaxIDLen:
		return fmt.Errorf("%w: %q... has %d bytes, the limit is %d", ErrInvalidID, strings.ToValidUTF8(id[:32], "?"), len(id), MaxIDLen)
	case !utf8.ValidString(id):
		return fmt.Errorf("%w: %q is not valid UTF-8", ErrInvalidID, id)
	case strings.ContainsFunc(id, unicode.IsControl):
		return fmt.Errorf("%w: %q has a control character", ErrInvalidID, id)
	}
	return nil
}

// EncodeProps returns what a backend stores as the properties of t: its JSON
// encoding. Errors name the task; a panic of t is one.
func EncodeProps(t Task) (props []byte, err error) {
	if t == nil {
		return nil, fmt.Errorf("%w: nil task", ErrInvalidID)
	}
	var id string
	defer func() {
		if p := recover(); p != nil {
			props, err = nil, fmt.Errorf("task %q: encode properties: panic: %v", id, p)
		}
	}()
	id = t.ID()
	if err := ValidateID(id); err != nil {
		return nil, err
	}
	props, err = json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("task %q: encode properties: %w", id, err)
	}
	return props, nil
}

// DecodeTask calls f for a backend: it turns a panic, a nil Task and a Task of
// another ID into errors, so that no stored task can stop a node.
func DecodeTask(f TaskFunc, id string, props []byte) (t Task, err error) {
	defer func() {
		if p := recover(); p != nil {
			t, err = nil, fmt.Errorf("task %q: task function panicked: %v", id, p)
		}
	}()
	t, err = f(id, props)
	switch {
	case err != nil:
		return nil, fmt.Errorf("task %q: %w", id, err)
	case t == nil:
		return nil, fmt.Errorf("task %q: task function returned nil", id)
	case t.ID() != id:
		return nil, fmt.Errorf("task %q: task function returned the task %q", id, t.ID())
	}
	return t, nil
}
