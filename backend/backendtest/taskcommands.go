package backendtest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// listenChecks are of Listen, listenFuncChecks of ListenFunc where the listener
// has it: nearly everything holds for both.
func listenChecks() []check {
	return append(taskCommandChecks(), check{"ChannelIsNeverClosed", listenChannelIsNeverClosed})
}

func listenFuncChecks() []check {
	checks := append(taskCommandChecks(), check{"NotAfterStop", listenFuncIsOverAfterStop})
	for i := range checks {
		run := checks[i].run
		checks[i].run = func(c *cluster) {
			c.callsBack = true
			run(c)
		}
	}
	return checks
}

func taskCommandChecks() []check {
	return []check{
		{"ReachTheRunningTask", taskCommandsReachTheRunningTask},
		{"WaitForTheTask", taskCommandsWaitForTheTask},
		{"NewestWins", newestTaskCommandWins},
		{"NewerTakesThePlace", newerCommandTakesThePlaceInTheChannel},
		{"OverHandOver", unhandledCommandsAreDeliveredAgain},
		{"ToTheNextListener", unhandledCommandsReachTheNextListener},
		{"HandledOnce", handledCommandsAreGone},
		{"HandledUnlessReplaced", handledKeepsANewerCommand},
		{"HandledOfLostClaim", handledOfLostClaimTouchesNothing},
		{"NotOfEarlierSubmission", commandsEndWithTheirTask},
		{"OfEachTask", eachTaskGetsItsCommands},
		{"UnknownTask", taskCommandsNeedATask},
		{"InvalidAreRefused", invalidMessagesAreRefused},
		{"MalformedStored", malformedTaskCommandsStopNothing},
		{"WhileCutOff", commandsSentWhileCutOffArrive},
	}
}

// send sends commands to a task, one after the other.
func (c *cluster) send(id string, messages ...statemachine.Message) {
	c.t.Helper()
	commander := c.NewCommander(c.t)
	for _, m := range messages {
		c.must(fmt.Sprintf("send %v to task %q", m, id), commander.Send(c.ctx, id, m))
	}
}

// listening is a call of Listen or ListenFunc.
type listening struct {
	*cluster
	commands <-chan statemachine.Command
	stop     func()
	last     uint64 // the ID of the last command
}

// listen listens to the commands of a claim until the check ends.
func (s *stateful) listen(claim metafora.Claim) *listening {
	s.c.t.Helper()
	commands, stop := s.startListening(claim)
	stop = sync.OnceFunc(stop)
	s.c.t.Cleanup(stop)
	return &listening{cluster: s.c, commands: commands, stop: stop}
}

func (s *stateful) startListening(claim metafora.Claim) (<-chan statemachine.Command, func()) {
	s.c.t.Helper()
	if !s.c.callsBack {
		return s.Listen(claim)
	}
	caller, ok := s.CommandListener.(statemachine.CommandCaller)
	s.c.need("a CommandCaller", ok)
	return statemachine.CommandChannel(func(deliver func(statemachine.Command)) func() {
		calls := callback{t: s.c.t, deliver: deliver}
		stop := caller.ListenFunc(claim, calls.call)
		return func() {
			stop()
			calls.over.Store(true)
		}
	})
}

// callback checks what is promised of the calls of ListenFunc.
type callback struct {
	t       *testing.T
	deliver func(statemachine.Command)
	calls   atomic.Int32 // under way
	over    atomic.Bool  // stop has returned
	last    atomic.Uint64
}

func (cb *callback) call(cmd statemachine.Command) {
	if cb.calls.Add(1) != 1 {
		cb.t.Errorf("two calls at a time, one for %v", cmd)
	}
	if cb.over.Load() {
		cb.t.Errorf("called for %v after stop had returned", cmd)
	}
	if last := cb.last.Swap(cmd.ID); cmd.ID <= last {
		cb.t.Errorf("the command ID %d comes after %d", cmd.ID, last)
	}
	cb.deliver(cmd)
	cb.calls.Add(-1)
}

// next returns the next command.
func (l *listening) next() statemachine.Command {
	l.t.Helper()
	select {
	case cmd, open := <-l.commands:
		if !open {
			l.t.Fatal("the channel of commands was closed")
		}
		if cmd.ID <= l.last {
			l.t.Fatalf("the command %v has the ID %d, which comes after %d", cmd.Message, cmd.ID, l.last)
		}
		l.last = cmd.ID
		return cmd
	case <-time.After(l.h.Patience):
		l.t.Fatal("no command arrives")
	}
	panic("unreachable")
}

// want fails the check unless the next command is this one.
func (l *listening) want(m statemachine.Message) statemachine.Command {
	l.t.Helper()
	cmd := l.next()
	if cmd.Message != m {
		l.t.Fatalf("got the command %v, want %v", cmd.Message, m)
	}
	return cmd
}

// wantNothing fails the check if a command arrives.
func (l *listening) wantNothing() {
	l.t.Helper()
	l.grace()
	select {
	case cmd, open := <-l.commands:
		l.t.Fatalf("got the command %v (channel open: %t), want none", cmd.Message, open)
	default:
	}
}

// wantNothingPending fails the check if a command is pending for the task of a
// claim. The task has one afterwards.
func (s *stateful) wantNothingPending(claim metafora.Claim) {
	s.c.t.Helper()
	l := s.listen(claim)
	l.wantNothing()
	s.c.send(claim.TaskID, statemachine.Checkpoint())
	l.want(statemachine.Checkpoint())
}

// sampleMessages returns every kind of message.
func sampleMessages() []statemachine.Message {
	return []statemachine.Message{
		statemachine.Run(), statemachine.Pause(), statemachine.Kill(), statemachine.Complete(),
		statemachine.Checkpoint(), statemachine.Release(),
		statemachine.Sleep(time.Date(2026, 2, 28, 23, 59, 59, 999_999_999, time.FixedZone("east", 3600))),
		statemachine.Error(errors.New("<&> \u2028 \"日本語\" \n\t\\")),
	}
}

func taskCommandsReachTheRunningTask(c *cluster) {
	c.submit("t")
	a := c.joinStateful("a", NodeOptions{})
	claim := a.take("t")
	commands := a.listen(claim)
	for _, m := range sampleMessages() {
		c.send("t", m)
		c.must("handled", a.Handled(c.ctx, claim, commands.want(m).ID))
	}
	commands.wantNothing()
}

// "the command that is pending when it begins"
func taskCommandsWaitForTheTask(c *cluster) {
	a := c.joinStateful("a", NodeOptions{})
	c.submit("before", "during")
	c.send("before", statemachine.Pause())
	a.listen(a.take("before")).want(statemachine.Pause())
	claim := a.take("during")
	c.send("during", statemachine.Kill())
	c.grace()
	a.listen(claim).want(statemachine.Kill())
}

// "It takes the place of a command that is still pending: the newest wins."
func newestTaskCommandWins(c *cluster) {
	c.submit("t")
	a := c.joinStateful("a", NodeOptions{})
	c.send("t", statemachine.Pause(), statemachine.Run(), statemachine.Kill())
	claim := a.take("t")
	commands := a.listen(claim)
	cmd := commands.want(statemachine.Kill())
	c.must("handled", a.Handled(c.ctx, claim, cmd.ID))
	commands.wantNothing()
}

// "The channel holds one command: a newer one takes the place of one not yet
// received." Another task tells when the newer one has come.
func newerCommandTakesThePlaceInTheChannel(c *cluster) {
	c.submit("t", "marker")
	a := c.joinStateful("a", NodeOptions{})
	commands, marker := a.listen(a.take("t")), a.listen(a.take("marker"))
	c.send("t", statemachine.Pause())
	c.await("a command is in the channel", func() bool { return len(commands.commands) == 1 })
	c.send("t", statemachine.Run(), statemachine.Kill())
	c.send("marker", statemachine.Pause())
	marker.want(statemachine.Pause())
	commands.want(statemachine.Kill())
	commands.wantNothing()
}

// "which gets it once, when it runs, however often it is handed over before":
// also when it was received and the claim ended before it was handled.
func unhandledCommandsAreDeliveredAgain(c *cluster) {
	c.submit("t")
	a, b := c.joinStateful("a", NodeOptions{}), c.joinStateful("b", NodeOptions{})
	c.send("t", statemachine.Kill())
	var last uint64
	for range 3 {
		for _, n := range []*stateful{a, b} {
			claim := n.take("t")
			commands := n.listen(claim)
			cmd := commands.want(statemachine.Kill())
			if last != 0 && cmd.ID != last {
				c.t.Fatalf("the command's ID became %d, it was %d", cmd.ID, last)
			}
			last = cmd.ID
			commands.stop()
			c.must("release", n.Release(c.ctx, claim))
		}
	}
	claim := a.take("t")
	c.must("handled", a.Handled(c.ctx, claim, last))
	c.must("release", a.Release(c.ctx, claim))
	b.wantNothingPending(b.take("t"))
}

// "a command that was not handled, received or not, is delivered again to the
// next listener", of the same claim too.
func unhandledCommandsReachTheNextListener(c *cluster) {
	c.submit("t")
	a := c.joinStateful("a", NodeOptions{})
	claim := a.take("t")
	first := a.listen(claim)
	c.send("t", statemachine.Pause())
	first.want(statemachine.Pause())
	first.stop()
	second := a.listen(claim)
	c.await("the command is in the channel", func() bool { return len(second.commands) == 1 })
	second.stop()
	third := a.listen(claim)
	cmd := third.want(statemachine.Pause())
	c.must("handled", a.Handled(c.ctx, claim, cmd.ID))
	third.stop()
	a.wantNothingPending(claim)
	if len(first.commands) > 0 {
		c.t.Fatal("a channel received a command after its stop was called")
	}
}

func handledCommandsAreGone(c *cluster) {
	c.submit("t")
	a, b := c.joinStateful("a", NodeOptions{}), c.joinStateful("b", NodeOptions{})
	claim := a.take("t")
	commands := a.listen(claim)
	c.send("t", statemachine.Pause())
	cmd := commands.want(statemachine.Pause())
	c.must("handled", a.Handled(c.ctx, claim, cmd.ID))
	c.must("handled again", a.Handled(c.ctx, claim, cmd.ID))
	commands.wantNothing()
	commands.stop()
	a.listen(claim).wantNothing()
	c.must("release", a.Release(c.ctx, claim))
	b.wantNothingPending(b.take("t"))
}

// "removes a command if c is current and no newer command has replaced it".
func handledKeepsANewerCommand(c *cluster) {
	c.submit("t")
	a, b := c.joinStateful("a", NodeOptions{}), c.joinStateful("b", NodeOptions{})
	claim := a.take("t")
	commands := a.listen(claim)
	c.send("t", statemachine.Pause())
	old := commands.want(statemachine.Pause())
	c.send("t", statemachine.Kill())
	c.must("handled", a.Handled(c.ctx, claim, old.ID))
	commands.want(statemachine.Kill())
	commands.stop()
	c.must("release", a.Release(c.ctx, claim))
	b.listen(b.take("t")).want(statemachine.Kill())
}

// "metafora.ErrNotOwner: c is not current; nothing was touched."
func handledOfLostClaimTouchesNothing(c *cluster) {
	a, b := c.joinStateful("a", NodeOptions{}), c.joinStateful("b", NodeOptions{})
	stale, current := c.lostClaim(a.node, b.node, "t-1")
	c.send("t-1", statemachine.Pause())
	commands := b.listen(current)
	cmd := commands.want(statemachine.Pause())
	commands.stop()
	c.wantError("handled by a lost claim", a.Handled(c.ctx, stale, cmd.ID), metafora.ErrNotOwner, "t-1")
	b.listen(current).want(statemachine.Pause())
}

// Done and DeleteTask remove the "pending command too": the next submission of
// the ID does not get it.
func commandsEndWithTheirTask(c *cluster) {
	c.submit("t")
	a := c.joinStateful("a", NodeOptions{})
	for _, end := range []func(){
		func() { c.must("done", a.Done(c.ctx, a.take("t"))) },
		func() { c.must("delete", c.client.DeleteTask(c.ctx, "t")) },
		func() { a.take("t"); c.must("delete", c.client.DeleteTask(c.ctx, "t")) },
	} {
		c.send("t", statemachine.Kill())
		end()
		mark := c.journal.mark()
		c.submit("t")
		a.awaitTask(mark, "t")
		claim := a.take("t")
		a.wantNothingPending(claim)
		c.must("release", a.Release(c.ctx, claim))
	}
}

// "It is never closed", whatever happens to the claim and the node.
func listenChannelIsNeverClosed(c *cluster) {
	c.submit("released", "done", "deleted", "held")
	a := c.joinStateful("a", NodeOptions{})
	var channels []<-chan statemachine.Command
	listen := func(id string) (metafora.Claim, func()) {
		claim := a.take(id)
		commands, stop := a.Listen(claim)
		channels = append(channels, commands)
		return claim, stop
	}
	released, stop := listen("released")
	c.must("release", a.Release(c.ctx, released))
	stop()
	done, stopDone := listen("done")
	c.must("done", a.Done(c.ctx, done))
	stopDone()
	deleted, stopDeleted := listen("deleted")
	c.must("delete", c.client.DeleteTask(c.ctx, "deleted"))
	a.awaitLost(deleted)
	stopDeleted()
	_, stopHeld := listen("held")
	c.must("close", a.close())
	stopHeld()
	c.grace()
	for i, commands := range channels {
		select {
		case cmd, open := <-commands:
			c.t.Errorf("channel %d: received %v (open: %t), want it open and empty", i, cmd, open)
		default:
		}
	}
}

// Commands reach their own tasks only, also those whose IDs are parts of others.
func eachTaskGetsItsCommands(c *cluster) {
	ids := append(numbered("t", 100), "x", "x/", "x/commands", "commands", "..", "%2F", "/")
	c.submit(ids...)
	a := c.joinStateful("a", NodeOptions{})
	claims := a.takeAll(ids)
	listeners := make([]*listening, len(ids))
	for i := range ids {
		listeners[i] = a.listen(claims[i])
	}
	commander := c.NewCommander(c.t)
	c.parallel(len(ids), func(i int) error {
		return commander.Send(c.ctx, ids[i], statemachine.Error(errors.New(ids[i])))
	})
	for i, id := range ids {
		listeners[i].want(statemachine.Error(errors.New(id)))
	}
}

// "metafora.ErrNoTask: no such task."
func taskCommandsNeedATask(c *cluster) {
	c.submit("t-1")
	a := c.joinStateful("a", NodeOptions{})
	commander := c.NewCommander(c.t)
	for _, id := range []string{"ghost", "t-", "t-1/"} {
		c.wantError("command to a task that never was", commander.Send(c.ctx, id, statemachine.Pause()), metafora.ErrNoTask, id)
	}
	c.must("done", a.Done(c.ctx, a.take("t-1")))
	c.wantError("command to a task that is done", commander.Send(c.ctx, "t-1", statemachine.Pause()), metafora.ErrNoTask, "t-1")
	c.submit("t-1")
	a.wantNothingPending(a.take("t-1"))
}

// "ErrInvalidMessage: m is no valid command."
func invalidMessagesAreRefused(c *cluster) {
	c.submit("t-1")
	a := c.joinStateful("a", NodeOptions{})
	commander := c.NewCommander(c.t)
	for _, m := range []statemachine.Message{
		{},
		{Code: "explode"},
		{Code: statemachine.CodeSleep},
		{Code: statemachine.CodeError},
		{Code: statemachine.CodePause, Err: "no error is meant"},
		{Code: statemachine.CodeSleep, Until: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		c.wantError(fmt.Sprintf("send %q", m.Code), commander.Send(c.ctx, "t-1", m), statemachine.ErrInvalidMessage, "t-1")
	}
	a.wantNothingPending(a.take("t-1"))
}

// A command that no backend has stored must not stop a node: its task gets the
// next one, and others are not touched.
func malformedTaskCommandsStopNothing(c *cluster) {
	put := c.Faults.PutRawTaskCommand
	c.need("Faults.PutRawTaskCommand", put != nil)
	a := c.joinStateful("a", NodeOptions{})
	for i, value := range []string{"", "{", "null", "[]", `"pause"`, "\x00\xff", `{"message":7}`, `{"message":"explode"}`} {
		early, live := fmt.Sprintf("early-%d", i), fmt.Sprintf("live-%d", i)
		c.submit(early, live)
		put(c.t, early, []byte(value))
		commands := a.listen(a.take(live))
		put(c.t, live, []byte(value))
		for id, l := range map[string]*listening{early: a.listen(a.take(early)), live: commands} {
			c.send(id, statemachine.Pause())
			l.want(statemachine.Pause())
		}
	}
}

// A command that was sent while the node could not hear it arrives afterwards,
// even if the broker has forgotten when it came. What it has replaced may come
// first; to handle that leaves the newest pending.
func commandsSentWhileCutOffArrive(c *cluster) {
	f := c.Faults
	c.need("Faults.Partition and Heal", f.Partition != nil && f.Heal != nil)
	c.submit("t")
	a := c.joinStateful("a", NodeOptions{})
	claim := a.take("t")
	commands := a.listen(claim)
	f.Partition(c.t, "a")
	c.send("t", statemachine.Pause(), statemachine.Kill())
	if f.Compact != nil {
		f.Compact(c.t)
	}
	f.Heal(c.t, "a")
	cmd := commands.next()
	if cmd.Message == statemachine.Pause() {
		c.must("handled", a.Handled(c.ctx, claim, cmd.ID))
		cmd = commands.next()
	}
	if cmd.Message != statemachine.Kill() {
		c.t.Fatalf("got the command %v, want %v last", cmd.Message, statemachine.Kill())
	}
	commands.stop()
	again := a.listen(claim)
	again.want(statemachine.Kill())
	c.must("handled", a.Handled(c.ctx, claim, cmd.ID))
	again.wantNothing()
	again.stop()
	a.wantNothingPending(claim)
}

// "It is not called any more once stop has returned." The callback of listen
// checks that.
func listenFuncIsOverAfterStop(c *cluster) {
	c.submit("t")
	a := c.joinStateful("a", NodeOptions{})
	claim := a.take("t")
	commander := c.NewCommander(c.t)
	sent := make(chan error, 1)
	c.background.Go(func() {
		for range 100 {
			if err := commander.Send(c.ctx, "t", statemachine.Checkpoint()); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	})
	for range 20 {
		commands := a.listen(claim)
		commands.want(statemachine.Checkpoint())
		commands.stop()
	}
	c.must("send", receive(c, "all commands are sent", sent))
	c.send("t", statemachine.Kill())
	c.grace()
}
