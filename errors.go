package metafora

import "errors"

// The errors of the contract. They come wrapped with context: test for them
// with errors.Is.
var (
	// ErrClaimed says that another node owns the task.
	ErrClaimed = errors.New("metafora: task is already claimed")
	// ErrNoTask says that there is no such task, or no longer: it is done,
	// deleted, or was submitted anew since it was announced.
	ErrNoTask = errors.New("metafora: no such task")
	// ErrTaskExists says that a task of this ID is waiting or running.
	ErrTaskExists = errors.New("metafora: task exists")
	// ErrNotOwner says that a claim is not, or no longer, the current one.
	ErrNotOwner = errors.New("metafora: claim is not current")
	// ErrInvalidID says that an ID or a name cannot be used; see ValidateID.
	ErrInvalidID = errors.New("metafora: invalid ID")
	// ErrTooLarge says that something exceeds what the broker can store.
	ErrTooLarge = errors.New("metafora: too large")
	// ErrNodeExists says that a live node of this name is in the cluster.
	ErrNodeExists = errors.New("metafora: node name is taken")
	// ErrNoNode says that no live node has this name.
	ErrNoNode = errors.New("metafora: no such node")
	// ErrInvalidCommand says that a node command is unknown or malformed.
	ErrInvalidCommand = errors.New("metafora: invalid command")
	// ErrUncertain says that a write may or may not have taken effect, that
	// reading back could not tell, and that repeating it is up to the caller.
	ErrUncertain = errors.New("metafora: outcome unknown")
	// ErrLeaseLost says that the node's lease ended, and its claims with it.
	ErrLeaseLost = errors.New("metafora: lease lost")
	// ErrClosed says that the Coordinator or Client was closed.
	ErrClosed = errors.New("metafora: closed")
	// ErrStopped is the cause of a handler's context once the drain timeout
	// passed.
	ErrStopped = errors.New("metafora: drain timeout passed")
	// ErrHandlerStuck says that a handler did not return although its context
	// ended; Consumer.Run names it.
	ErrHandlerStuck = errors.New("metafora: handler ignores its context")
)
