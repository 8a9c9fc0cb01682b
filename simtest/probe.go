package simtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// coordinator is what the Coordinators of both backends are.
type coordinator interface {
	metafora.Coordinator
	metafora.ClusterState
	metafora.LeaseHolder
	StateStore() statemachine.StateStore
	CommandListener() statemachine.CommandListener
}

// probe stands between a Consumer and its Coordinator. It notes what is asked and
// answered, stands still with a process that is paused, and keeps what is left of
// a crashed one from doing anything.
type probe struct {
	coordinator
	inc *incarnation
}

func (p *probe) gone() error {
	return fmt.Errorf("%w: %w", metafora.ErrClosed, ErrCrashed)
}

// step lets a call wait for the scheduler, which thereby decides in which order
// concurrent calls of a node reach the backend.
func (p *probe) step(ctx context.Context, verb, id string) error {
	return p.inc.sim.broker.gate(ctx, p.inc, verb, id)
}

// returned is called when a call is over: in a process that stands still, nobody
// gets to know before it goes on.
func (p *probe) returned(err error) error {
	if !p.inc.awake() {
		return p.gone()
	}
	return err
}

func (p *probe) Init(ctx context.Context, cc metafora.CoordinatorContext) error {
	err := p.coordinator.Init(ctx, probeContext{cc, p.inc})
	p.inc.joined.Store(err == nil)
	return p.returned(err)
}

func (p *probe) Close() error {
	p.inc.closeErr = p.coordinator.Close()
	return p.inc.closeErr
}

func (p *probe) Watch(ctx context.Context, tasks chan<- metafora.Task) error {
	return p.inc.sim.broker.watch(ctx, p, tasks)
}

func (p *probe) Claim(ctx context.Context, t metafora.Task) (metafora.Claim, error) {
	s := p.inc.sim
	s.mu.Lock()
	frozen := p.inc.frozen && !p.inc.thawing
	s.mu.Unlock()
	if frozen {
		s.blame(frozenIdle, "%s claims %s", p.inc, t.ID())
	}
	if err := p.step(ctx, "claim", t.ID()); err != nil {
		return metafora.Claim{}, err
	}
	end := s.history.begin(p.inc, claimTask, t.ID(), 0)
	c, err := p.coordinator.Claim(ctx, t)
	err = p.returned(err)
	end(err, c.Fence)
	if err != nil {
		return metafora.Claim{}, err
	}
	return c, nil
}

func (p *probe) Release(ctx context.Context, c metafora.Claim) error {
	if err := p.step(ctx, "release", c.TaskID); err != nil {
		return err
	}
	end := p.inc.sim.history.begin(p.inc, releaseTask, c.TaskID, c.Fence)
	err := p.returned(p.coordinator.Release(ctx, c))
	end(err, c.Fence)
	return err
}

func (p *probe) Done(ctx context.Context, c metafora.Claim) error {
	p.inc.ask(p.inc.done, c)
	if err := p.step(ctx, "done", c.TaskID); err != nil {
		return err
	}
	end := p.inc.sim.history.begin(p.inc, finishTask, c.TaskID, c.Fence)
	err := p.returned(p.coordinator.Done(ctx, c))
	end(err, c.Fence)
	return err
}

func (p *probe) Command(ctx context.Context) (metafora.Command, error) {
	c, err := p.coordinator.Command(ctx)
	if err = p.returned(err); err != nil {
		return metafora.Command{}, err
	}
	p.inc.sim.commandArrived(p.inc, c)
	return c, nil
}

func (p *probe) SetAccepting(ctx context.Context, accepting bool) error {
	if err := p.step(ctx, "accepting", fmt.Sprint(accepting)); err != nil {
		return err
	}
	return p.returned(p.coordinator.SetAccepting(ctx, accepting))
}

func (p *probe) StateStore() statemachine.StateStore {
	return &probeStore{p.coordinator.StateStore(), p}
}

func (p *probe) CommandListener() statemachine.CommandListener {
	return &probeListener{p.coordinator.CommandListener().(statemachine.CommandCaller), p}
}

// probeContext is a CoordinatorContext in a process that can stand still.
type probeContext struct {
	metafora.CoordinatorContext
	inc *incarnation
}

func (c probeContext) Lost(claim metafora.Claim, cause error) {
	if errors.Is(cause, metafora.ErrNotOwner) && c.inc.sim.broker.current(claim) {
		c.inc.sim.blame(trueAlarm, "%s loses %s by claim %d, which is current", c.inc, claim.TaskID, claim.Fence)
	}
	if c.inc.awake() {
		c.inc.sim.log(c.inc.node.name, nil, fmt.Sprintf("loses %s: %v", claim.TaskID, cause))
		c.CoordinatorContext.Lost(claim, cause)
	}
}

func (c probeContext) ClusterChanged() {
	if c.inc.awake() {
		c.CoordinatorContext.ClusterChanged()
	}
}

type probeStore struct {
	statemachine.StateStore
	p *probe
}

func (s *probeStore) Load(ctx context.Context, c metafora.Claim) (statemachine.State, error) {
	if err := s.p.step(ctx, "load", c.TaskID); err != nil {
		return statemachine.State{}, err
	}
	st, err := s.StateStore.Load(ctx, c)
	return st, s.p.returned(err)
}

func (s *probeStore) Store(ctx context.Context, c metafora.Claim, st statemachine.State, handled uint64) error {
	s.p.inc.ask(s.p.inc.stored, c)
	s.p.inc.askToStore(c, &st, handled)
	if err := s.p.step(ctx, "store", c.TaskID); err != nil {
		return err
	}
	return s.p.returned(s.StateStore.Store(ctx, c, st, handled))
}

type probeListener struct {
	statemachine.CommandCaller
	p *probe
}

func (l *probeListener) ListenFunc(c metafora.Claim, deliver func(statemachine.Command)) (stop func()) {
	s := l.p.inc.sim
	return l.CommandCaller.ListenFunc(c, func(cmd statemachine.Command) {
		s.log(l.p.inc.node.name, nil, fmt.Sprintf("%s gets %s", c.TaskID, cmd.Message.Code))
		s.mu.Lock()
		s.delivered = append(s.delivered, delivered{l.p.inc, c, int64(cmd.ID)})
		s.mu.Unlock()
		deliver(cmd)
	})
}

func (l *probeListener) Handled(ctx context.Context, c metafora.Claim, id uint64) error {
	l.p.inc.askToStore(c, nil, id)
	if err := l.p.step(ctx, "handled", c.TaskID); err != nil {
		return err
	}
	return l.p.returned(l.CommandCaller.Handled(ctx, c, id))
}

// commandArrived notes that a node has got a command.
func (s *Sim) commandArrived(inc *incarnation, c metafora.Command) {
	s.log(inc.node.name, nil, "gets "+c.Name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.Name == metafora.CommandUnfreeze {
		inc.thawing, inc.frozen = true, false
	}
	n, ok := c.Parameters[commandNumber].(float64)
	if !ok {
		return
	}
	if s.commands[int(n)]++; s.commands[int(n)] > 1 && s.blamed == nil {
		s.blamed = &violation{commandsOnce, fmt.Sprintf("%s gets the %s command number %v again", inc, c.Name, n)}
	}
}

// commandNumber is a parameter that tells the commands of a simulation apart.
const commandNumber = "number"
