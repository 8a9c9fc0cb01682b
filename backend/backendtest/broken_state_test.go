package backendtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/backendtest"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/statemachine"
)

func stateFlaws() []flaw {
	return []flaw{
		{
			"a state is stored without asking for the claim",
			[]string{
				"state/StoreOfLostClaim", "state/StoreOfEndedClaim", "state/StoreAfterLeaseLost",
				"state/HandledOnlyIfStored",
			},
			flawedStores(func(b *memory.Broker, s statemachine.StateStore) statemachine.StateStore { return storesAnything{s, b} }),
		},
		{
			"a malformed task command keeps later ones out",
			[]string{"listen/MalformedStored", "listenfunc/MalformedStored"},
			installMalformedStays,
		},
		{
			"a state is loaded without asking for the claim",
			[]string{"state/LoadOfLostClaim"},
			flawedStores(func(_ *memory.Broker, s statemachine.StateStore) statemachine.StateStore { return loadsAnything{s} }),
		},
		{
			"a corrupt state is taken for none",
			[]string{"state/Corrupt"},
			flawedStores(func(_ *memory.Broker, s statemachine.StateStore) statemachine.StateStore { return ignoresCorruption{s} }),
		},
		{
			"the errors of a state are not stored",
			[]string{"state/RoundTrip"},
			flawedStores(func(_ *memory.Broker, s statemachine.StateStore) statemachine.StateStore { return forgetsErrors{s} }),
		},
		{
			"a handled command stays",
			[]string{"state/HandledIsRemoved"},
			flawedStores(func(_ *memory.Broker, s statemachine.StateStore) statemachine.StateStore { return keepsHandled{s} }),
		},
		{
			"a node goes by the state that it loaded under an earlier claim",
			[]string{"state/OutlivesTheClaim"},
			flawedStores(func(_ *memory.Broker, s statemachine.StateStore) statemachine.StateStore {
				return &remembersStates{StateStore: s, loaded: make(map[string]statemachine.State)}
			}),
		},
		{"a command that has replaced the handled one goes too", []string{"state/HandledUnlessReplaced"}, installStoreHandlesAny},
		{
			"calls go on after stop",
			[]string{"listenfunc/NotAfterStop"},
			flawedCallers(func(l statemachine.CommandCaller) statemachine.CommandListener { return neverStops{l} }),
		},
		{
			"a call is repeated",
			[]string{"listenfunc/ReachTheRunningTask", "listenfunc/HandledOnce", "listenfunc/WhileCutOff"},
			flawedCallers(func(l statemachine.CommandCaller) statemachine.CommandListener { return callsTwice{l} }),
		},
		{
			"there is no call for a pending task command",
			[]string{
				"listenfunc/WaitForTheTask", "listenfunc/OverHandOver", "listenfunc/ToTheNextListener",
				"listenfunc/HandledOfLostClaim", "listenfunc/HandledUnlessReplaced",
			},
			flawedCallers(func(l statemachine.CommandCaller) statemachine.CommandListener { return callsForNewOnes{l} }),
		},
		{
			"a task without a state has an empty one",
			[]string{"state/NoneAtFirst"},
			flawedStores(func(_ *memory.Broker, s statemachine.StateStore) statemachine.StateStore { return emptyAtFirst{s} }),
		},
		{
			"all tasks share one state",
			[]string{"state/OfEachTask"},
			flawedStores(func(_ *memory.Broker, s statemachine.StateStore) statemachine.StateStore {
				return &sharedState{StateStore: s}
			}),
		},
		{
			"a store fails while another is under way",
			[]string{"state/ConcurrentStores"},
			flawedStores(func(_ *memory.Broker, s statemachine.StateStore) statemachine.StateStore {
				return &oneStore{StateStore: s}
			}),
		},
		{
			"handled task commands come again",
			[]string{"listen/HandledOnce"},
			flawedListeners(func(l statemachine.CommandListener) statemachine.CommandListener { return neverHandled{l} }),
		},
		{
			"a task command goes to all tasks",
			[]string{"listen/OfEachTask", "listenfunc/OfEachTask"},
			func(b *memory.Broker, broker *backendtest.Broker) {
				broker.NewCommander = func(testing.TB) statemachine.Commander { return sendsToAll{b.Client()} }
			},
		},
		{
			"a pending task command keeps newer ones out",
			[]string{"listen/NewestWins", "listenfunc/NewestWins", "listen/NewerTakesThePlace", "listenfunc/NewerTakesThePlace"},
			func(b *memory.Broker, broker *backendtest.Broker) {
				broker.NewCommander = func(testing.TB) statemachine.Commander { return &sendsOnce{Client: b.Client()} }
			},
		},
		{"a state outlives its submission", []string{"state/NotOfEarlierSubmission"}, installStateOutlivesTask},
		{"a task command outlives its submission", []string{"listen/NotOfEarlierSubmission", "listenfunc/NotOfEarlierSubmission"}, installCommandOutlivesTask},
		{
			"any task command is handled",
			[]string{"listen/HandledUnlessReplaced", "listen/ReachTheRunningTask"},
			flawedListeners(func(l statemachine.CommandListener) statemachine.CommandListener { return handlesAny{l} }),
		},
		{
			"a task command is handled by whoever asks",
			[]string{"listen/HandledOfLostClaim"},
			flawedListeners(func(l statemachine.CommandListener) statemachine.CommandListener { return handledByAnyone{l} }),
		},
		{
			"a pending task command is not delivered",
			[]string{
				"listen/WaitForTheTask", "listen/OverHandOver", "listen/ToTheNextListener",
				"listen/WhileCutOff",
			},
			flawedListeners(func(l statemachine.CommandListener) statemachine.CommandListener { return skipsPending{l} }),
		},
		{
			"the channel is closed by stop",
			[]string{"listen/ChannelIsNeverClosed"},
			flawedListeners(func(l statemachine.CommandListener) statemachine.CommandListener { return closesChannel{l} }),
		},
		{
			"any message can be sent to any task",
			[]string{
				"listen/UnknownTask", "listen/InvalidAreRefused", "listenfunc/InvalidAreRefused",
				"listenfunc/UnknownTask",
			},
			func(b *memory.Broker, broker *backendtest.Broker) {
				broker.NewCommander = func(testing.TB) statemachine.Commander { return sendsAnything{b.Client()} }
			},
		},
	}
}

func flawedStores(wrap func(*memory.Broker, statemachine.StateStore) statemachine.StateStore) func(*memory.Broker, *backendtest.Broker) {
	return func(b *memory.Broker, broker *backendtest.Broker) {
		correct := broker.NewStateStore
		broker.NewStateStore = func(t testing.TB, c metafora.Coordinator) statemachine.StateStore {
			return wrap(b, correct(t, c))
		}
	}
}

func flawedListeners(wrap func(statemachine.CommandListener) statemachine.CommandListener) func(*memory.Broker, *backendtest.Broker) {
	return func(_ *memory.Broker, broker *backendtest.Broker) {
		correct := broker.NewListener
		broker.NewListener = func(t testing.TB, c metafora.Coordinator) statemachine.CommandListener {
			return wrap(correct(t, c))
		}
	}
}

// flawedCallers makes a flaw of what has a flawed ListenFunc.
func flawedCallers(wrap func(statemachine.CommandCaller) statemachine.CommandListener) func(*memory.Broker, *backendtest.Broker) {
	return flawedListeners(func(l statemachine.CommandListener) statemachine.CommandListener {
		return wrap(l.(statemachine.CommandCaller))
	})
}

type emptyAtFirst struct{ statemachine.StateStore }

func (s emptyAtFirst) Load(ctx context.Context, c metafora.Claim) (statemachine.State, error) {
	state, err := s.StateStore.Load(ctx, c)
	if errors.Is(err, statemachine.ErrNoState) {
		err = nil
	}
	return state, err
}

type sharedState struct {
	statemachine.StateStore
	mu   sync.Mutex // guards last
	last *statemachine.State
}

func (s *sharedState) Store(ctx context.Context, c metafora.Claim, state statemachine.State, handled uint64) error {
	s.mu.Lock()
	s.last = &state
	s.mu.Unlock()
	return s.StateStore.Store(ctx, c, state, handled)
}

func (s *sharedState) Load(ctx context.Context, c metafora.Claim) (statemachine.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil {
		return *s.last, nil
	}
	return s.StateStore.Load(ctx, c)
}

type oneStore struct {
	statemachine.StateStore
	mu sync.Mutex // held by the store under way
}

func (s *oneStore) Store(ctx context.Context, c metafora.Claim, state statemachine.State, handled uint64) error {
	if !s.mu.TryLock() {
		return errors.New("busy")
	}
	defer s.mu.Unlock()
	time.Sleep(time.Millisecond)
	return s.StateStore.Store(ctx, c, state, handled)
}

type neverHandled struct{ statemachine.CommandListener }

func (neverHandled) Handled(context.Context, metafora.Claim, uint64) error { return nil }

type sendsToAll struct{ *memory.Client }

func (s sendsToAll) Send(ctx context.Context, id string, m statemachine.Message) error {
	infos, err := s.Tasks(ctx)
	for _, info := range infos {
		err = errors.Join(err, s.Client.Send(ctx, info.ID, m))
	}
	return err
}

type sendsOnce struct {
	*memory.Client
	sent sync.Map // the IDs that a command was sent to
}

func (s *sendsOnce) Send(ctx context.Context, id string, m statemachine.Message) error {
	if _, before := s.sent.LoadOrStore(id, true); before {
		return nil
	}
	return s.Client.Send(ctx, id, m)
}

type storesAnything struct {
	statemachine.StateStore
	b *memory.Broker
}

func (s storesAnything) Store(ctx context.Context, c metafora.Claim, state statemachine.State, handled uint64) error {
	err := s.StateStore.Store(ctx, c, state, handled)
	if errors.Is(err, metafora.ErrNotOwner) {
		var value []byte
		value, err = json.Marshal(state)
		s.b.PutRawState(c.TaskID, value)
	}
	return err
}

func installMalformedStays(b *memory.Broker, broker *backendtest.Broker) {
	s := &sendsOnce{Client: b.Client()}
	broker.NewCommander = func(testing.TB) statemachine.Commander { return s }
	put := broker.Faults.PutRawTaskCommand
	broker.Faults.PutRawTaskCommand = func(t testing.TB, id string, value []byte) {
		put(t, id, value)
		s.sent.Store(id, true)
	}
}

type loadsAnything struct{ statemachine.StateStore }

func (s loadsAnything) Load(ctx context.Context, c metafora.Claim) (statemachine.State, error) {
	state, err := s.StateStore.Load(ctx, c)
	if errors.Is(err, metafora.ErrNotOwner) {
		err = statemachine.ErrNoState
	}
	return state, err
}

type ignoresCorruption struct{ statemachine.StateStore }

func (s ignoresCorruption) Load(ctx context.Context, c metafora.Claim) (statemachine.State, error) {
	state, err := s.StateStore.Load(ctx, c)
	if errors.Is(err, statemachine.ErrCorruptState) {
		err = statemachine.ErrNoState
	}
	return state, err
}

type forgetsErrors struct{ statemachine.StateStore }

func (s forgetsErrors) Load(ctx context.Context, c metafora.Claim) (statemachine.State, error) {
	state, err := s.StateStore.Load(ctx, c)
	state.Errors = nil
	return state, err
}

type keepsHandled struct{ statemachine.StateStore }

func (s keepsHandled) Store(ctx context.Context, c metafora.Claim, state statemachine.State, _ uint64) error {
	return s.StateStore.Store(ctx, c, state, 0)
}

type remembersStates struct {
	statemachine.StateStore
	mu     sync.Mutex // guards loaded
	loaded map[string]statemachine.State
}

func (s *remembersStates) Load(ctx context.Context, c metafora.Claim) (statemachine.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state, ok := s.loaded[c.TaskID]; ok {
		return state, nil
	}
	state, err := s.StateStore.Load(ctx, c)
	if err == nil {
		s.loaded[c.TaskID] = state
	}
	return state, err
}

func (s *remembersStates) Store(ctx context.Context, c metafora.Claim, state statemachine.State, handled uint64) error {
	err := s.StateStore.Store(ctx, c, state, handled)
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.loaded[c.TaskID] = state
	}
	return err
}

func installStoreHandlesAny(_ *memory.Broker, broker *backendtest.Broker) {
	correct := broker.NewStateStore
	broker.NewStateStore = func(t testing.TB, c metafora.Coordinator) statemachine.StateStore {
		return storeHandlesAny{correct(t, c), broker.NewListener(t, c)}
	}
}

type storeHandlesAny struct {
	statemachine.StateStore
	l statemachine.CommandListener
}

func (s storeHandlesAny) Store(ctx context.Context, c metafora.Claim, state statemachine.State, handled uint64) error {
	if cmd, ok := pending(s.l, c); ok && handled != 0 {
		handled = cmd.ID
	}
	return s.StateStore.Store(ctx, c, state, handled)
}

// installStateOutlivesTask keeps the state of an ID when it is submitted anew.
func installStateOutlivesTask(b *memory.Broker, broker *backendtest.Broker) {
	flawedClients(func(_ *memory.Broker, cl *memory.Client) metafora.Client { return keepsStates{cl, b} })(b, broker)
}

type keepsStates struct {
	*memory.Client
	b *memory.Broker
}

func (cl keepsStates) SubmitTasks(ctx context.Context, ts []metafora.Task) error {
	states := make(map[string]statemachine.State)
	for _, t := range ts {
		if t == nil {
			continue
		}
		if state, err := cl.State(ctx, t.ID()); err == nil {
			states[t.ID()] = state
		}
	}
	err := cl.Client.SubmitTasks(ctx, ts)
	for id, state := range states {
		if value, err := json.Marshal(state); err == nil {
			cl.b.PutRawState(id, value)
		}
	}
	return err
}

// installCommandOutlivesTask sends the last command of an ID again when the ID
// is submitted anew.
func installCommandOutlivesTask(b *memory.Broker, broker *backendtest.Broker) {
	r := &remembersCommands{Client: b.Client(), sent: make(map[string]statemachine.Message)}
	broker.NewClient = func(testing.TB) metafora.Client { return r }
	broker.NewCommander = func(testing.TB) statemachine.Commander { return r }
}

type remembersCommands struct {
	*memory.Client
	mu   sync.Mutex // guards sent
	sent map[string]statemachine.Message
}

func (r *remembersCommands) Send(ctx context.Context, id string, m statemachine.Message) error {
	err := r.Client.Send(ctx, id, m)
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.sent[id] = m
	}
	return err
}

func (r *remembersCommands) SubmitTask(ctx context.Context, t metafora.Task) error {
	err := r.Client.SubmitTask(ctx, t)
	if err == nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if m, ok := r.sent[t.ID()]; ok {
			return r.Client.Send(ctx, t.ID(), m)
		}
	}
	return err
}

// pending takes a look at the command that is pending.
func pending(l statemachine.CommandListener, c metafora.Claim) (statemachine.Command, bool) {
	commands, stop := l.Listen(c)
	defer stop()
	select {
	case cmd := <-commands:
		return cmd, true
	default:
		return statemachine.Command{}, false
	}
}

type handlesAny struct{ statemachine.CommandListener }

func (l handlesAny) Handled(ctx context.Context, c metafora.Claim, id uint64) error {
	if cmd, ok := pending(l.CommandListener, c); ok {
		id = cmd.ID
	}
	return l.CommandListener.Handled(ctx, c, id)
}

type handledByAnyone struct{ statemachine.CommandListener }

func (l handledByAnyone) Handled(ctx context.Context, c metafora.Claim, id uint64) error {
	if err := l.CommandListener.Handled(ctx, c, id); !errors.Is(err, metafora.ErrNotOwner) {
		return err
	}
	return nil
}

type skipsPending struct{ statemachine.CommandListener }

func (l skipsPending) Listen(c metafora.Claim) (<-chan statemachine.Command, func()) {
	commands, stop := l.CommandListener.Listen(c)
	select {
	case <-commands:
	default:
	}
	return commands, stop
}

type neverStops struct{ statemachine.CommandCaller }

func (l neverStops) ListenFunc(c metafora.Claim, deliver func(statemachine.Command)) func() {
	l.CommandCaller.ListenFunc(c, deliver)
	return func() {}
}

type callsTwice struct{ statemachine.CommandCaller }

func (l callsTwice) ListenFunc(c metafora.Claim, deliver func(statemachine.Command)) func() {
	return l.CommandCaller.ListenFunc(c, func(cmd statemachine.Command) {
		deliver(cmd)
		deliver(cmd)
	})
}

type callsForNewOnes struct{ statemachine.CommandCaller }

func (l callsForNewOnes) ListenFunc(c metafora.Claim, deliver func(statemachine.Command)) func() {
	var begun atomic.Bool
	defer begun.Store(true)
	return l.CommandCaller.ListenFunc(c, func(cmd statemachine.Command) {
		if begun.Load() {
			deliver(cmd)
		}
	})
}

type closesChannel struct{ statemachine.CommandListener }

func (l closesChannel) Listen(c metafora.Claim) (<-chan statemachine.Command, func()) {
	inner, stop := l.CommandListener.Listen(c)
	commands, stopped := make(chan statemachine.Command, 1), make(chan struct{})
	go func() {
		defer close(commands)
		for {
			select {
			case cmd := <-inner:
				select {
				case commands <- cmd:
				case <-stopped:
				}
			case <-stopped:
				return
			}
		}
	}()
	return commands, func() {
		stop()
		close(stopped)
	}
}

type sendsAnything struct{ *memory.Client }

func (s sendsAnything) Send(ctx context.Context, id string, m statemachine.Message) error {
	_ = s.Client.Send(ctx, id, m)
	return nil
}
