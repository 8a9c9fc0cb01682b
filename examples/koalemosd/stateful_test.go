//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/examples/internal/koalemos"
	"github.com/metafora-go/metafora/statemachine"
)

// soon has a command that failed tried again at once, and given up at its third
// failure.
var soon = statemachine.Backoff{Base: time.Millisecond, Max: time.Millisecond, Limit: 3}

// stage is a broker in memory whose tasks are run by real processes.
type stage struct {
	*memory.Client
	broker *memory.Broker
	runner *runner
}

func newStage(t *testing.T) *stage {
	broker := memory.NewBroker()
	return &stage{Client: broker.Client(), broker: broker, runner: newRunner(t)}
}

// join starts a node. leave ends it in good order, and may be called again.
func (s *stage) join(t *testing.T, name string, b statemachine.Backoff) (leave func()) {
	t.Helper()
	coord := s.broker.Coordinator(name, memory.WithTaskFunc(koalemos.DecodeTask))
	r := newStatefulRunner(s.runner, coord, b)
	consumer, err := metafora.NewConsumer(coord, r.handler, balance.All())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		ended <- consumer.Run(ctx)
		close(ended)
	}()
	leave = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(leave)
	return leave
}

func (s *stage) submit(t *testing.T, when koalemos.Schedule, args ...string) {
	t.Helper()
	task, err := koalemos.NewScheduledTask("t", when, args...)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SubmitTask(t.Context(), task); err != nil {
		t.Fatal(err)
	}
}

func (s *stage) send(t *testing.T, m statemachine.Message) {
	t.Helper()
	if err := s.Send(t.Context(), "t", m); err != nil {
		t.Fatal(err)
	}
}

// wantState waits for a stored state, and for a task that is over to be gone.
func (s *stage) wantState(t *testing.T, want statemachine.StateCode) (state statemachine.State) {
	t.Helper()
	eventually(t, "state "+string(want), func() (ok bool) {
		var err error
		if state, err = s.State(t.Context(), "t"); err != nil || state.Code != want {
			return false
		}
		_, err = s.Task(t.Context(), "t")
		return !want.Terminal() || errors.Is(err, metafora.ErrNoTask)
	})
	return state
}

// output returns what the command has written in all its runs.
func (s *stage) output(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.runner.output, "t.log"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(text)
}

func (s *stage) wantRuns(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d runs", n), func() bool { return strings.Count("\n"+s.output(t), "\nrun\n") == n })
}

// stopped tells whether the operating system has stopped a process.
func stopped(t *testing.T, pid string) bool {
	t.Helper()
	out, err := exec.Command("ps", "-o", "state=", "-p", pid).Output()
	if err != nil {
		t.Fatalf("ps %s: %v", pid, err)
	}
	return strings.HasPrefix(strings.TrimSpace(string(out)), "T")
}

// talkative is a command of two processes, which writes their IDs and goes on until
// it is asked to end.
func (l *lifeline) talkative() []string {
	return l.shell("sleep 1000 & echo pids $$ $!; echo run; echo ready >&3; wait")
}

func TestPausedCommandStandsStillAndGoesOn(t *testing.T) {
	s, l := newStage(t), newLifeline(t)
	s.join(t, "a", soon)
	s.submit(t, koalemos.Schedule{}, l.talkative()...)
	gone := l.open(t)
	_, pids, _ := strings.Cut(s.output(t), "\npids ")
	pids, _, _ = strings.Cut(pids, "\n")

	for range 2 {
		s.send(t, statemachine.Pause())
		s.wantState(t, statemachine.Paused)
		for _, pid := range strings.Fields(pids) {
			eventually(t, "process "+pid+" stopped", func() bool { return stopped(t, pid) })
		}
		s.send(t, statemachine.Run())
		s.wantState(t, statemachine.Runnable)
		for _, pid := range strings.Fields(pids) {
			eventually(t, "process "+pid+" goes on", func() bool { return !stopped(t, pid) })
		}
	}
	s.send(t, statemachine.Kill())
	s.wantState(t, statemachine.Killed)
	gone()
	s.wantRuns(t, 1)
}

func TestKillReachesAPausedCommand(t *testing.T) {
	s, l := newStage(t), newLifeline(t)
	s.join(t, "a", soon)
	s.submit(t, koalemos.Schedule{}, l.talkative()...)
	gone := l.open(t)
	s.send(t, statemachine.Pause())
	s.wantState(t, statemachine.Paused)
	s.send(t, statemachine.Kill())
	s.wantState(t, statemachine.Killed)
	gone()
}

func TestPausedCommandIsHandedOverPausedAndBeginsAnew(t *testing.T) {
	s, l := newStage(t), newLifeline(t)
	leave := s.join(t, "a", soon)
	s.submit(t, koalemos.Schedule{}, l.talkative()...)
	gone := l.open(t)
	s.send(t, statemachine.Pause())
	s.wantState(t, statemachine.Paused)
	leave()
	gone()
	s.join(t, "b", soon)
	eventually(t, "b has the task", func() bool {
		info, err := s.Task(t.Context(), "t")
		return err == nil && info.Owner == "b"
	})
	s.wantState(t, statemachine.Paused)
	s.send(t, statemachine.Run())
	gone = l.open(t)
	s.wantRuns(t, 2)
	s.send(t, statemachine.Kill())
	gone()
}

func TestRunningCommandIsHandedOver(t *testing.T) {
	s, l := newStage(t), newLifeline(t)
	leave := s.join(t, "a", soon)
	s.submit(t, koalemos.Schedule{}, l.talkative()...)
	gone := l.open(t)
	leave()
	gone()
	s.join(t, "b", soon)
	gone = l.open(t)
	s.send(t, statemachine.Kill())
	gone()
}

func TestDeletedCommandIsKilled(t *testing.T) {
	for name, pause := range map[string]bool{"running": false, "paused": true} {
		t.Run(name, func(t *testing.T) {
			s, l := newStage(t), newLifeline(t)
			s.join(t, "a", soon)
			s.submit(t, koalemos.Schedule{}, l.talkative()...)
			gone := l.open(t)
			if pause {
				s.send(t, statemachine.Pause())
				s.wantState(t, statemachine.Paused)
			}
			if err := s.DeleteTask(t.Context(), "t"); err != nil {
				t.Fatal(err)
			}
			gone()
		})
	}
}

func TestFailingCommandIsTriedAgainAndGivenUp(t *testing.T) {
	s := newStage(t)
	s.join(t, "a", soon)
	s.submit(t, koalemos.Schedule{}, "sh", "-c", "echo run; exit 3")
	state := s.wantState(t, statemachine.Failed)
	s.wantRuns(t, 3)
	if n := len(state.Errors); n != 4 || state.Errors[0].Error != "exit status 3" {
		t.Errorf("errors are %v, want three of the command and one that says so", state.Errors)
	}
}

func TestCommandThatFailedOnceCompletes(t *testing.T) {
	s := newStage(t)
	s.join(t, "a", soon)
	s.submit(t, koalemos.Schedule{}, "sh", "-c", `echo run; [ -e "$0" ] || { touch "$0"; kill -KILL $$; }`, filepath.Join(t.TempDir(), "once"))
	state := s.wantState(t, statemachine.Completed)
	s.wantRuns(t, 2)
	if len(state.Errors) != 1 || state.Errors[0].Error != "signal: killed" {
		t.Errorf("errors are %v", state.Errors)
	}
}

func TestProgramThatDoesNotExistFails(t *testing.T) {
	s := newStage(t)
	s.join(t, "a", soon)
	s.submit(t, koalemos.Schedule{}, "no-such-program")
	state := s.wantState(t, statemachine.Failed)
	if !strings.Contains(state.Errors[0].Error, "no-such-program") {
		t.Errorf("error does not name the program: %v", state.Errors)
	}
}

func TestResumeEndsTheWaitAfterAFailure(t *testing.T) {
	s := newStage(t)
	s.join(t, "a", statemachine.Backoff{Base: time.Hour, Max: time.Hour})
	s.submit(t, koalemos.Schedule{}, "sh", "-c", "echo run; exit 3")
	s.wantState(t, statemachine.Sleeping)
	s.send(t, statemachine.Run())
	s.wantRuns(t, 2)
}

func TestScheduledCommandWaitsForItsTimes(t *testing.T) {
	s := newStage(t)
	s.join(t, "a", soon)
	at := time.Now().Add(time.Hour).UTC()
	s.submit(t, koalemos.Schedule{At: at, Every: koalemos.Duration(time.Hour)}, "sh", "-c", "echo run")
	s.send(t, statemachine.Checkpoint()) // changes nothing, and is handled
	eventually(t, "the task has an owner", func() bool {
		info, err := s.Task(t.Context(), "t")
		return err == nil && info.Owner == "a"
	})
	if out := s.output(t); out != "" {
		t.Errorf("the command ran before its time:\n%s", out)
	}
	s.send(t, statemachine.Run())
	if state := s.wantState(t, statemachine.Sleeping); !state.Until.Equal(at) {
		t.Errorf("sleeps until %v, want %v", state.Until, at)
	}
	s.wantRuns(t, 1)
}

func TestScheduledCommandRunsAtOnceWhenItsTimeHasPassed(t *testing.T) {
	s := newStage(t)
	s.join(t, "a", soon)
	at := time.Now().Add(-90 * time.Minute)
	s.submit(t, koalemos.Schedule{At: at, Every: koalemos.Duration(time.Hour)}, "sh", "-c", "echo run")
	if state := s.wantState(t, statemachine.Sleeping); !state.Until.Equal(at.Add(2 * time.Hour)) {
		t.Errorf("sleeps until %v, want %v", state.Until, at.Add(2*time.Hour))
	}
	s.wantRuns(t, 1)
}

func TestOrderIsObeyedWhileThisMachineCannotRunTheCommand(t *testing.T) {
	s := newStage(t)
	s.runner.retry = time.Hour
	s.runner.output = filepath.Join(s.runner.output, "file")
	if err := os.WriteFile(s.runner.output, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.join(t, "a", soon)
	s.submit(t, koalemos.Schedule{}, "true")
	s.send(t, statemachine.Kill())
	s.wantState(t, statemachine.Killed)
}

// TestOrderAtTheEndOfACommand is about what arrives just as the command ends.
func TestOrderAtTheEndOfACommand(t *testing.T) {
	r := newRunner(t)
	hourly := koalemos.Schedule{At: time.Now(), Every: koalemos.Duration(time.Hour)}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		name   string
		ctx    context.Context
		when   koalemos.Schedule
		script string
		order  statemachine.Message
		want   statemachine.MessageCode
	}{
		{"done", t.Context(), koalemos.Schedule{}, "exit 0", statemachine.Message{}, statemachine.CodeComplete},
		{"done and told to pause", t.Context(), koalemos.Schedule{}, "exit 0", statemachine.Pause(), statemachine.CodeComplete},
		{"done and told to leave", t.Context(), koalemos.Schedule{}, "exit 0", statemachine.Release(), statemachine.CodeComplete},
		{"done for now", t.Context(), hourly, "exit 0", statemachine.Message{}, statemachine.CodeSleep},
		{"done for now and told to leave", t.Context(), hourly, "exit 0", statemachine.Release(), statemachine.CodeSleep},
		{"done for now and killed", t.Context(), hourly, "exit 0", statemachine.Kill(), statemachine.CodeKill},
		{"failed", t.Context(), koalemos.Schedule{}, "exit 1", statemachine.Run(), statemachine.CodeError},
		{"failed and told to pause", t.Context(), koalemos.Schedule{}, "exit 1", statemachine.Pause(), statemachine.CodePause},
		{"killed by the guard", ended, koalemos.Schedule{}, "kill -KILL $$", statemachine.Message{}, statemachine.CodeRelease},
	} {
		t.Run(tc.name, func(t *testing.T) {
			task, err := koalemos.NewScheduledTask("t", tc.when, "sh", "-c", tc.script)
			if err != nil {
				t.Fatal(err)
			}
			j := &job{runner: r, task: task}
			if err := j.begin(metafora.Claim{TaskID: "t"}, r.log); err != nil {
				t.Fatal(err)
			}
			<-j.process.ended
			if m := j.outcome(tc.ctx, tc.order, r.log); m.Code != tc.want {
				t.Errorf("answers %v, want %v", m, tc.want)
			}
			if j.process != nil {
				t.Error("the process that ended is kept")
			}
		})
	}
}

func TestScheduleGoesOnAfterAnyNumberOfFailures(t *testing.T) {
	now := time.Now()
	var errs []statemachine.TaskError
	for range statemachine.MaxErrors {
		errs = append(errs, statemachine.TaskError{Time: now, Error: "exit status 1"})
	}
	handle := onError(statemachine.Backoff{Base: time.Hour, Max: 24 * time.Hour, Limit: 3})
	task, err := koalemos.NewScheduledTask("t", koalemos.Schedule{At: now, Every: koalemos.Duration(10 * time.Minute)}, "true")
	if err != nil {
		t.Fatal(err)
	}
	m, _ := handle(task, errs)
	if m.Code != statemachine.CodeSleep || m.Until.After(time.Now().Add(10*time.Minute)) {
		t.Errorf("after failures of a command that runs every 10 minutes: %v", m)
	}
	once, err := koalemos.NewTask("t", "true")
	if err != nil {
		t.Fatal(err)
	}
	if m, _ := handle(once, errs); m.Code != statemachine.CodeError {
		t.Errorf("after failures of a command that runs once: %v", m)
	}
}
