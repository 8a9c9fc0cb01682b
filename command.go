package metafora

import (
	"encoding/json"
	"fmt"
)

// The names of the node commands.
const (
	CommandFreeze   = "freeze"
	CommandUnfreeze = "unfreeze"
	CommandBalance  = "balance"
	CommandStopTask = "stop_task"
	CommandDrain    = "drain"
)

// MaxCommandLen is the length limit of an encoded command, in bytes.
const MaxCommandLen = 64 << 10

// Command tells a node to do something. Its wire form is JSON:
//
//	{"command":"stop_task","parameters":{"task_id":"t1"}}
type Command struct {
	Name       string         `json:"command"`
	Parameters map[string]any `json:"parameters,omitempty"`
}

// Freeze makes a node claim no more tasks and balance no more; what runs goes on.
func Freeze() Command { return Command{Name: CommandFreeze} }

// Unfreeze undoes Freeze and Drain.
func Unfreeze() Command { return Command{Name: CommandUnfreeze} }

// Balance makes a node balance now, unless it is frozen.
func Balance() Command { return Command{Name: CommandBalance} }

// Drain makes a node release all its tasks and claim no more.
func Drain() Command { return Command{Name: CommandDrain} }

// StopTask makes a node stop one task. Its handler's Stop is called; whether the
// task is then done or released is the handler's word.
func StopTask(id string) Command {
	return Command{Name: CommandStopTask, Parameters: map[string]any{"task_id": id}}
}

// TaskID returns the task that a stop_task command is about, or "".
func (c Command) TaskID() string {
	id, _ := c.Parameters["task_id"].(string)
	return id
}

// Validate returns an error wrapping [ErrInvalidCommand] unless c is a known
// command with the parameters that it needs.
func (c Command) Validate() error {
	switch c.Name {
	case CommandFreeze, CommandUnfreeze, CommandBalance, CommandDrain:
		return nil
	case CommandStopTask:
		if err := ValidateID(c.TaskID()); err != nil {
			return fmt.Errorf("%w: %s needs the parameter task_id: %w", ErrInvalidCommand, c.Name, err)
		}
		return nil
	}
	return fmt.Errorf("%w: unknown command %.64q", ErrInvalidCommand, c.Name)
}

// EncodeCommand validates c and returns its wire form.
func EncodeCommand(c Command) ([]byte, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalidCommand, c.Name, err)
	}
	if len(b) > MaxCommandLen {
		return nil, fmt.Errorf("%w: %s has %d bytes, the limit is %d", ErrInvalidCommand, c.Name, len(b), MaxCommandLen)
	}
	return b, nil
}

// DecodeCommand parses a command's wire form and validates it. All its errors
// wrap [ErrInvalidCommand].
func DecodeCommand(b []byte) (Command, error) {
	if len(b) > MaxCommandLen {
		return Command{}, fmt.Errorf("%w: %d bytes, the limit is %d", ErrInvalidCommand, len(b), MaxCommandLen)
	}
	var c Command
	if err := json.Unmarshal(b, &c); err != nil {
		return Command{}, fmt.Errorf("%w: %.64q: %w", ErrInvalidCommand, b, err)
	}
	return c, c.Validate()
}
