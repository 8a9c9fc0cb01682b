package simtest

import (
	"strconv"

	"github.com/metafora-go/metafora"
)

// numbered is a task whose properties tell the submissions of an ID apart.
type numbered struct {
	id     string
	number int
}

func (t numbered) ID() string     { return t.id }
func (t numbered) String() string { return t.id }
func (t numbered) MarshalJSON() ([]byte, error) {
	return strconv.AppendInt(nil, int64(t.number), 10), nil
}

// newTask returns a task to submit.
func (s *Sim) newTask(id string) metafora.Task {
	s.submissions++
	return numbered{id, s.submissions}
}

// numberedTask is the TaskFunc of all nodes.
func numberedTask(id string, props []byte) (metafora.Task, error) {
	return numbered{id, numberOf(props)}, nil
}

// numberOf returns the number that properties hold, 0 for those of other tasks.
func numberOf(props []byte) int {
	n, err := strconv.Atoi(string(props))
	if err != nil {
		return 0
	}
	return n
}
