package backendtest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/backendtest"
	"github.com/metafora-go/metafora/backend/memory"
)

func watchFlaws() []flaw {
	return []flaw{
		{
			"announces each ID once",
			[]string{
				"announce/ToAllNodesAfterRelease", "announce/AfterOwnerDeath", "announce/AfterResubmission",
				"announce/AfterOwnerKeyDeleted", "announce/EachWatchAnnouncesAll",
			},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				seen := make(map[string]bool)
				return filteredWatch{c, func(t metafora.Task) bool {
					first := !seen[t.ID()]
					seen[t.ID()] = true
					return first
				}}
			}),
		},
		{
			"announces nothing that waited",
			[]string{"announce/WaitingTasks", "announce/ManyTasks", "compaction/BeforeInit"},
			flawedNodes(func(b *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return &blindToWaiting{Coordinator: c, b: b}
			}),
		},
		{
			"announces nothing that came between two watches",
			[]string{"announce/NothingMissedBetweenWatches"},
			flawedNodes(func(b *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return &blindToWaiting{Coordinator: c, b: b, afterFirst: true}
			}),
		},
		{
			"announces tasks that have an owner",
			[]string{"announce/NotWhileOwned"},
			flawedNodes(func(b *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return announcesOwned{c, b} }),
		},
		{
			"announces by ID instead of by time",
			[]string{"announce/InOrder"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return sortsAnnouncements{c} }),
		},
		{
			"knows only what was received",
			[]string{"announce/SlowReceiver"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
				return &knowsWhatWasReceived{Coordinator: c, received: make(map[string]bool)}
			}),
		},
		{
			"everything is claimable",
			[]string{"announce/Claimable"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return allClaimable{c} }),
		},
		{
			"compaction loses what was not announced yet",
			[]string{"compaction/BehindTheWatch", "compaction/BehindTheReceiver"},
			installForgetfulCompaction,
		},
		{"a refused task ends Watch", []string{"taskfunc/RefusedTasksAreSkipped", "taskfunc/RefusedUntilNextAnnounced"}, installWatchEndedByRefusal},
		{
			"the TaskFunc is called twice",
			[]string{"taskfunc/OneCallEachAnnouncement"},
			func(_ *memory.Broker, broker *backendtest.Broker) {
				correct := broker.NewCoordinator
				broker.NewCoordinator = func(t testing.TB, name string, o backendtest.NodeOptions) metafora.Coordinator {
					if f := o.TaskFunc; f != nil {
						o.TaskFunc = func(id string, props []byte) (metafora.Task, error) {
							_, _ = f(id, props)
							return f(id, props)
						}
					}
					return correct(t, name, o)
				}
			},
		},
		{
			"announces nothing but what waited",
			[]string{"announce/NewTasks", "compaction/UnderLiveWatch"},
			flawedNodes(func(b *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return blindToNew{c, b} }),
		},
		{
			"a value that is no task ends Watch",
			[]string{"announce/InvalidStoredTask"},
			installWatchEndedByRawTask,
		},
		{
			"the TaskFunc gets no properties",
			[]string{"taskfunc/GetsStoredProperties"},
			installNoProperties,
		},
		{
			"the TaskFunc gets an object whatever was stored",
			[]string{"taskfunc/PropertiesOfAnotherShape"},
			func(_ *memory.Broker, broker *backendtest.Broker) {
				correct := broker.NewCoordinator
				broker.NewCoordinator = func(t testing.TB, name string, o backendtest.NodeOptions) metafora.Coordinator {
					if f := o.TaskFunc; f != nil {
						o.TaskFunc = func(id string, props []byte) (metafora.Task, error) {
							if len(props) == 0 || props[0] != '{' {
								props = []byte("{}")
							}
							return f(id, props)
						}
					}
					return correct(t, name, o)
				}
			},
		},
		{
			"Watch returns the error of its context",
			[]string{"contexts/EndsWatch"},
			flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator { return watchReturnsContextError{c} }),
		},
	}
}

// watchThrough runs a correct Watch and passes on what each returns.
func watchThrough(ctx context.Context, c *memory.Coordinator, tasks chan<- metafora.Task, each func(metafora.Task) []metafora.Task) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	inner := make(chan metafora.Task)
	ended := make(chan error, 1)
	go func() { ended <- c.Watch(ctx, inner) }()
	for {
		select {
		case t := <-inner:
			for _, t := range each(t) {
				select {
				case tasks <- t:
				case err := <-ended:
					return err
				}
			}
		case err := <-ended:
			return err
		}
	}
}

type filteredWatch struct {
	*memory.Coordinator
	keep func(metafora.Task) bool
}

func (c filteredWatch) Watch(ctx context.Context, tasks chan<- metafora.Task) error {
	return watchThrough(ctx, c.Coordinator, tasks, func(t metafora.Task) []metafora.Task {
		if !c.keep(t) {
			return nil
		}
		return []metafora.Task{t}
	})
}

// blindToWaiting drops the first announcement of tasks that wait when Watch is
// called.
type blindToWaiting struct {
	*memory.Coordinator
	b          *memory.Broker
	afterFirst bool // the first Watch is correct
	watches    int
}

func (c *blindToWaiting) Watch(ctx context.Context, tasks chan<- metafora.Task) error {
	c.watches++
	drop := make(map[string]bool)
	if infos, err := c.b.Client().Tasks(ctx); err == nil && (!c.afterFirst || c.watches > 1) {
		for _, info := range infos {
			drop[info.ID] = info.Owner == ""
		}
	}
	return filteredWatch{c.Coordinator, func(t metafora.Task) bool {
		dropped := drop[t.ID()]
		delete(drop, t.ID())
		return !dropped
	}}.Watch(ctx, tasks)
}

type announcesOwned struct {
	*memory.Coordinator
	b *memory.Broker
}

func (c announcesOwned) Watch(ctx context.Context, tasks chan<- metafora.Task) error {
	var owned []metafora.Task
	infos, _ := c.b.Client().Tasks(ctx)
	for _, info := range infos {
		if info.Owner != "" {
			owned = append(owned, metafora.NewTask(info.ID))
		}
	}
	return watchThrough(ctx, c.Coordinator, tasks, func(t metafora.Task) []metafora.Task {
		announce := append(owned, t)
		owned = nil
		return announce
	})
}

// sortsAnnouncements gathers announcements for a moment.
type sortsAnnouncements struct{ *memory.Coordinator }

func (c sortsAnnouncements) Watch(ctx context.Context, tasks chan<- metafora.Task) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	inner := make(chan metafora.Task)
	ended := make(chan error, 1)
	go func() { ended <- c.Coordinator.Watch(ctx, inner) }()
	var gathered []metafora.Task
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case t := <-inner:
			gathered = append(gathered, t)
		case <-tick.C:
			slices.SortFunc(gathered, func(a, b metafora.Task) int { return strings.Compare(a.ID(), b.ID()) })
			for _, t := range gathered {
				select {
				case tasks <- t:
				case err := <-ended:
					return err
				}
			}
			gathered = nil
		case err := <-ended:
			return err
		}
	}
}

type knowsWhatWasReceived struct {
	*memory.Coordinator
	mu       sync.Mutex // guards received
	received map[string]bool
}

func (c *knowsWhatWasReceived) Watch(ctx context.Context, tasks chan<- metafora.Task) error {
	return watchThrough(ctx, c.Coordinator, tasks, func(t metafora.Task) []metafora.Task {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.received[t.ID()] = true
		return []metafora.Task{t}
	})
}

func (c *knowsWhatWasReceived) Claimable(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.received[id] && c.Coordinator.Claimable(id)
}

// blindToNew announces what waits when Watch is called.
type blindToNew struct {
	*memory.Coordinator
	b *memory.Broker
}

func (c blindToNew) Watch(ctx context.Context, tasks chan<- metafora.Task) error {
	waiting := make(map[string]bool)
	if infos, err := c.b.Client().Tasks(ctx); err == nil {
		for _, info := range infos {
			waiting[info.ID] = true
		}
	}
	return filteredWatch{c.Coordinator, func(t metafora.Task) bool { return waiting[t.ID()] }}.Watch(ctx, tasks)
}

// installNoProperties gives TaskFuncs the properties of plain tasks.
func installNoProperties(_ *memory.Broker, broker *backendtest.Broker) {
	correct := broker.NewCoordinator
	broker.NewCoordinator = func(t testing.TB, name string, o backendtest.NodeOptions) metafora.Coordinator {
		if f := o.TaskFunc; f != nil {
			o.TaskFunc = func(id string, _ []byte) (metafora.Task, error) { return f(id, []byte("{}")) }
		}
		return correct(t, name, o)
	}
}

// installWatchEndedByRawTask lets Watch end at the first value that no backend
// has written.
func installWatchEndedByRawTask(_ *memory.Broker, broker *backendtest.Broker) {
	refused := make(chan error, 1)
	flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
		return endedByRefusal{c, refused}
	})(nil, broker)
	put := broker.Faults.PutRawTask
	broker.Faults.PutRawTask = func(t testing.TB, id string, value []byte) {
		put(t, id, value)
		select {
		case refused <- errors.New("not a task"):
		default:
		}
	}
}

type allClaimable struct{ *memory.Coordinator }

func (allClaimable) Claimable(string) bool { return true }

type watchReturnsContextError struct{ *memory.Coordinator }

func (c watchReturnsContextError) Watch(ctx context.Context, tasks chan<- metafora.Task) error {
	if err := c.Coordinator.Watch(ctx, tasks); err != nil {
		return err
	}
	return ctx.Err()
}

// installForgetfulCompaction makes nodes forget, at a compaction, the tasks that
// wait and that they have not announced.
func installForgetfulCompaction(b *memory.Broker, broker *backendtest.Broker) {
	var mu sync.Mutex // guards the maps
	seen := make(map[string]map[string]bool)
	forgotten := make(map[string]map[string]bool)
	flawedNodes(func(_ *memory.Broker, c *memory.Coordinator) metafora.Coordinator {
		mu.Lock()
		defer mu.Unlock()
		seen[c.Name()], forgotten[c.Name()] = make(map[string]bool), make(map[string]bool)
		return filteredWatch{c, func(t metafora.Task) bool {
			mu.Lock()
			defer mu.Unlock()
			seen[c.Name()][t.ID()] = true
			return !forgotten[c.Name()][t.ID()]
		}}
	})(b, broker)
	compact := broker.Faults.Compact
	broker.Faults.Compact = func(t testing.TB) {
		infos, _ := b.Client().Tasks(t.Context())
		mu.Lock()
		for node, known := range seen {
			for _, info := range infos {
				forgotten[node][info.ID] = info.Owner == "" && !known[info.ID]
			}
		}
		mu.Unlock()
		compact(t)
	}
}

// installWatchEndedByRefusal lets Watch end at the first task that the TaskFunc
// refuses.
func installWatchEndedByRefusal(_ *memory.Broker, broker *backendtest.Broker) {
	correct := broker.NewCoordinator
	broker.NewCoordinator = func(t testing.TB, name string, o backendtest.NodeOptions) metafora.Coordinator {
		refused := make(chan error, 1)
		f := o.TaskFunc
		if f == nil {
			f = metafora.PlainTask
		}
		o.TaskFunc = func(id string, props []byte) (metafora.Task, error) {
			task, err := metafora.DecodeTask(f, id, props)
			if err != nil {
				select {
				case refused <- err:
				default:
				}
			}
			return task, err
		}
		return endedByRefusal{correct(t, name, o).(*memory.Coordinator), refused}
	}
}

type endedByRefusal struct {
	*memory.Coordinator
	refused <-chan error
}

func (c endedByRefusal) Watch(ctx context.Context, tasks chan<- metafora.Task) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case err := <-c.refused:
			cancel(err)
		case <-ctx.Done():
		}
	}()
	err := c.Coordinator.Watch(ctx, tasks)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}
