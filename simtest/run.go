package simtest

import (
	"errors"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var durationFlag = flag.Duration("simtest.duration", 0, "simtest: try schedules for this long, in place of a number of them")

// turn is held by whoever plays schedules: they have the process for themselves.
var turn sync.Mutex

// gcPercent lets the garbage of schedules, which is most of what there is, grow
// for a while. In a large cluster most is no garbage, and fresh memory costs more than
// to find some.
func (c Config) gcPercent() int {
	if c.Coarse {
		return 200
	}
	return 800
}

// inTurn calls f, which plays schedules, with the process set up for them.
func inTurn(cfg Config, f func()) {
	turn.Lock()
	defer turn.Unlock()
	if !cfg.Coarse {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		defer deepStacks()()
	}
	defer debug.SetGCPercent(debug.SetGCPercent(cfg.gcPercent()))
	f()
}

// deepStacks makes goroutines start with stacks that hold what those of a schedule do.
// The runtime gives them the average of what is in use when it collects garbage (Go 1.19
// release notes), which is little where all wait, so that each has to grow several times.
// It keeps some in use that are larger, until the function that it returns is called.
func deepStacks() (end func()) {
	const goroutines, frames = 4, 16
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() { _ = waitBelow(frames, done) })
	}
	return func() {
		close(done)
		wg.Wait()
	}
}

// waitBelow waits until done is closed, on top of so many frames of 4 KiB.
func waitBelow(frames int, done <-chan struct{}) byte {
	var frame [4 << 10]byte
	if frames == 0 {
		<-done
	} else {
		frame[frames] = waitBelow(frames-1, done)
	}
	return frame[0]
}

// Run tries schedules: it calls f for each, in a bubble of fake time, with a Sim
// whose faults are drawn by rapid. A nil f is [Sim.Explore] and then [Sim.Settle].
//
// A schedule that breaks an invariant is shrunk to a short one and shown as a
// timeline. It is kept in a file below testdata/rapid, which is tried first by
// all later runs, until somebody deletes it.
//
// Run stops in time before the test's deadline, and logs how many schedules it has
// tried.
//
// Run holds GOMAXPROCS at one, so that the goroutines of a schedule take turns, unless
// Config.Coarse is set, and has other runs wait for their turn even where tests are
// parallel. With Coarse, or with the race detector, which shuffles goroutines that are
// ready, the same draws can give another run.
func Run(t *testing.T, cfg Config, f func(*Sim)) {
	t.Helper()
	full, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	if f == nil {
		f = func(s *Sim) {
			s.Explore()
			s.Settle()
		}
	}
	p := &property{t: t, cfg: full, f: f, dice: newDice()}
	var took time.Duration
	inTurn(full, func() {
		began := time.Now()
		for !p.enough(began) {
			// It tries as many as -rapid.checks says, each time with a new seed.
			rapid.Check(t, p.check)
		}
		took = time.Since(began)
	})
	t.Logf("%d schedules, %.0f a second", p.tried, float64(p.tried)/took.Seconds())
}

// property is what rapid tries to falsify.
type property struct {
	t     *testing.T
	cfg   Config
	f     func(*Sim)
	dice  *dice
	tried int
	// first is the invariant that was broken first. Schedules that break
	// another one are no shorter examples of it.
	first string
}

// respite is how long before the deadline of a test its last schedule begins.
const respite = 5 * time.Second

// late reports whether the test's own time is over, and it has something to show.
func (p *property) late() bool {
	deadline, ok := p.t.Deadline()
	return ok && p.tried > 0 && p.first == "" && time.Until(deadline) < respite
}

func (p *property) enough(began time.Time) bool {
	if p.late() {
		return true
	}
	if *durationFlag > 0 {
		return time.Since(began) >= *durationFlag
	}
	return p.tried >= p.cfg.Schedules
}

func (p *property) check(rt *rapid.T) {
	if p.late() {
		return // rapid cannot be told to stop
	}
	p.tried++
	v, s := simulate(p.t, p.cfg, &drawn{t: rt, dice: p.dice}, p.f)
	if v == nil || p.first != "" && v.invariant != p.first {
		return
	}
	p.first = v.invariant
	if err := s.writePage(p.t.Name(), v); err != nil {
		rt.Log(err)
	}
	rt.Logf("%s\n%v", v.details, lazily(s.report)) // few are ever formatted
	rt.Fatalf("%s", v.invariant)
}

// once simulates a single schedule.
func once(t *testing.T, cfg Config, src source, f func(*Sim)) (v *violation, s *Sim) {
	inTurn(cfg, func() { v, s = simulate(t, cfg, src, f) })
	return v, s
}

// simulate plays one schedule in a bubble of its own, and returns the invariant that
// was broken, if any.
func simulate(t *testing.T, cfg Config, src source, f func(*Sim)) (v *violation, s *Sim) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if text := fmt.Sprint(p); !strings.HasPrefix(text, "deadlock") {
			panic(p)
		}
		if v == nil {
			v = &violation{noLeak, "goroutines are left over:\n" + leftOver()}
		}
	}()
	inBubble(t, func() {
		s = newSim(cfg, src)
		defer s.teardown()
		defer func() {
			if p := recover(); p != nil {
				v = broken(p)
			}
		}()
		f(s)
	})
	return v, s
}

// broken returns what a panic of the root goroutine is about. One of rapid, which
// unwinds by panicking, goes on.
func broken(p any) (v *violation) {
	if err, ok := p.(error); ok && errors.As(err, &v) {
		return v
	}
	if strings.HasPrefix(fmt.Sprintf("%T", p), "rapid.") {
		panic(p)
	}
	return &violation{noPanic, fmt.Sprintf("%v\n%s", p, debug.Stack())}
}

// leftOver returns the stacks of all goroutines in bubbles.
func leftOver() string {
	buf := make([]byte, 1<<20)
	var stacks []string
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if head, _, _ := strings.Cut(stack, "\n"); strings.Contains(head, "synctest bubble") {
			stacks = append(stacks, stack)
		}
	}
	return strings.Join(stacks, "\n\n")
}

// lazily is a text that is made when it is needed.
type lazily func() string

func (f lazily) String() string { return f() }

// report draws the timeline.
func (s *Sim) report() string {
	if s.cfg.Coarse {
		return "A coarse simulation has no timeline, and another run of it may differ.\n"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.timeline.render(s.nodeNames())
}

func (s *Sim) nodeNames() []string {
	names := make([]string, len(s.nodes))
	for i, n := range s.nodes {
		names[i] = n.name
	}
	return names
}
