package etcd_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/simtest/simetcd"
)

func TestClaimWhoseReplyWasLostIsKept(t *testing.T) {
	for name, fate := range map[string]simetcd.Gate{"took effect": lost, "no effect": failed} {
		t.Run(name, func(t *testing.T) {
			inSim(t, func(t *testing.T, s *sim) {
				a := s.node("a", etcd.Options{})
				s.submit("t")
				a.gate.next(2, simetcd.KindTxn, fate)
				claim := a.claimed("t")[0]
				if s.owner("t") != claim.Fence {
					t.Errorf("claim %v, the broker's owner has fence %d", claim, s.owner("t"))
				}
				if err := a.Release(t.Context(), claim); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// The caller has gone: the claim may not stay with a node that does not run it.
func TestClaimNobodyWaitsForIsReleased(t *testing.T) {
	for name, fate := range map[string]error{
		"took effect": simetcd.ErrUnavailable,
		"no effect":   simetcd.ErrUnavailable,
		"refused":     rpctypes.ErrGRPCPermissionDenied,
	} {
		t.Run(name, func(t *testing.T) {
			inSim(t, func(t *testing.T, s *sim) {
				a := s.node("a", etcd.Options{})
				s.submit("t")
				wantIDs(t, "announced", a.announced(), "t")
				calls := make(chan heldCall, 10)
				a.gate.set(kinds(hold(calls), simetcd.KindTxn))
				ctx, cancel := context.WithCancel(t.Context())
				claimed := make(chan error, 1)
				go func() {
					_, err := a.Claim(ctx, metafora.NewTask("t"))
					claimed <- err
				}()
				call := <-calls
				cancel()
				if err := <-claimed; !errors.Is(err, metafora.ErrUncertain) {
					t.Errorf("Claim returned %v", err)
				}
				if _, err := a.Claim(t.Context(), metafora.NewTask("t")); !errors.Is(err, metafora.ErrClaimed) {
					t.Errorf("claim while another is being settled: %v", err)
				}
				a.gate.set(nil)
				if name == "took effect" {
					call.Apply()
				}
				call.fate <- fate
				after(time.Second)
				if s.owner("t") != 0 {
					t.Error("the claim has leaked")
				}
				wantIDs(t, "announced again", a.announced(), "t")
				a.claimed("t")
				if got := a.losses(); len(got) > 0 {
					t.Errorf("lost %v, which nobody had", got)
				}
			})
		})
	}
}

// An attempt that was given up reaches etcd when the claim has been released.
func TestLateAttemptOfAClaimIsReleased(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a := s.node("a", etcd.Options{})
		s.submit("t")
		calls := make(chan heldCall, 10)
		first := a.gate.next(1, simetcd.KindTxn, func(_ context.Context, c *simetcd.Call) error {
			calls <- heldCall{Call: c}
			return simetcd.ErrUnavailable
		})
		claim := a.claimed("t")[0]
		if first() != 0 {
			t.Fatal("the first attempt was not hit")
		}
		if err := a.Release(t.Context(), claim); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		late := <-calls
		late.Apply()
		synctest.Wait()
		if got, _ := late.Result(); got == nil || s.owner("t") != 0 {
			t.Error("the late claim was not released")
		}
		if got := a.Stats().Orphans; got != 1 {
			t.Errorf("%d orphans", got)
		}
		a.announced()
		a.claimed("t")
	})
}

// The reply comes when the lease has been given up.
func TestClaimAnsweredAfterTheLeaseIsNone(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a := s.node("a", tenSeconds)
		s.submit("t")
		a.gate.set(func(ctx context.Context, c *simetcd.Call) error {
			switch c.Kind() {
			case simetcd.KindKeepAlive:
				return simetcd.ErrUnavailable
			case simetcd.KindTxn:
				c.Apply()
				time.Sleep(8*time.Second + time.Millisecond) // the process stands still
				return nil
			}
			return nil
		})
		if _, err := a.Claim(t.Context(), metafora.NewTask("t")); !errors.Is(err, metafora.ErrLeaseLost) {
			t.Errorf("Claim returned %v", err)
		}
		a.gate.set(nil)
		after(time.Minute)
		if s.owner("t") != 0 {
			t.Error("the claim has leaked")
		}
		if got := a.losses(); len(got) > 0 {
			t.Errorf("lost %v, which nobody had", got)
		}
		a.announced()
		a.claimed("t")
	})
}

func TestEndWhoseReplyWasLostIsSettled(t *testing.T) {
	type end func(*simNode, context.Context, metafora.Claim) error
	for name, end := range map[string]end{
		"release": func(n *simNode, ctx context.Context, c metafora.Claim) error { return n.Release(ctx, c) },
		"done":    func(n *simNode, ctx context.Context, c metafora.Claim) error { return n.Done(ctx, c) },
	} {
		for effect, fate := range map[string]simetcd.Gate{"took effect": lost, "no effect": failed} {
			t.Run(name+" "+effect, func(t *testing.T) {
				inSim(t, func(t *testing.T, s *sim) {
					a := s.node("a", etcd.Options{})
					s.submit("t")
					claim := a.claimed("t")[0]
					a.gate.next(1, simetcd.KindTxn, fate)
					if err := end(a, t.Context(), claim); err != nil {
						t.Error(err)
					}
					if s.owner("t") != 0 {
						t.Error("the claim is still there")
					}
					if gone := s.Get("/metafora/tasks/t") == nil; gone != (name == "done") {
						t.Errorf("task gone: %v", gone)
					}
					if got := a.losses(); len(got) > 0 {
						t.Errorf("lost %v", got)
					}
				})
			})
		}
	}
}

// The Done of a claim reaches etcd late: the task is another's, or another one.
func TestLateEndTouchesNoOtherClaim(t *testing.T) {
	for name, resubmit := range map[string]bool{"claimed by another": false, "submitted again": true} {
		t.Run(name, func(t *testing.T) {
			inSim(t, func(t *testing.T, s *sim) {
				a, b := s.node("a", tenSeconds), s.node("b", tenSeconds)
				s.submit("t")
				claim := a.claimed("t")[0]
				calls := make(chan heldCall, 100)
				a.gate.set(kinds(hold(calls), simetcd.KindTxn))
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- a.Done(ctx, claim) }()
				call := <-calls
				cancel()
				if err := <-ended; !errors.Is(err, metafora.ErrUncertain) {
					t.Errorf("Done returned %v", err)
				}
				operator := s.client(nil)
				if resubmit {
					if err := operator.DeleteTask(t.Context(), "t"); err != nil {
						t.Fatal(err)
					}
					s.submit("t")
				} else {
					_, err := s.Client("operator", nil).Delete(t.Context(), "/metafora/tasks/t/owner")
					if err != nil {
						t.Fatal(err)
					}
				}
				b.announced()
				theirs := b.claimed("t")[0]
				call.Apply()
				a.gate.set(nil)
				call.fate <- nil
				synctest.Wait()
				if s.owner("t") != theirs.Fence || s.Get("/metafora/tasks/t") == nil {
					t.Error("the late Done has hurt the other claim")
				}
				if got := b.losses(); len(got) > 0 {
					t.Errorf("lost %v", got)
				}
			})
		})
	}
}

func TestLostClaimCanBeReleasedByItsNodeOnly(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a, b := s.node("a", tenSeconds), s.node("b", tenSeconds)
		s.submit("t")
		claim := a.claimed("t")[0]
		if err := b.Release(t.Context(), claim); !errors.Is(err, metafora.ErrNotOwner) {
			t.Errorf("released by another node: %v", err)
		}
		forged := claim
		forged.Fence++
		if err := a.Done(t.Context(), forged); !errors.Is(err, metafora.ErrNotOwner) {
			t.Errorf("done with a fence that was never given: %v", err)
		}
		// The task's key goes, the owner's stays: it is a stray.
		operator := s.Client("operator", nil)
		if _, err := operator.Delete(t.Context(), "/metafora/tasks/t"); err != nil {
			t.Fatal(err)
		}
		if got := a.losses(); len(got) != 1 || got[0] != claim {
			t.Errorf("lost %v", got)
		}
		s.submit("t")
		if s.owner("t") != claim.Fence {
			t.Fatal("its handler may be running: the owner must stay")
		}
		if err := a.Release(t.Context(), claim); err != nil {
			t.Error(err)
		}
		wantIDs(t, "announced", b.announced(), "t", "t")
	})
}

func TestCommandIsHandledOnceWhateverIsLost(t *testing.T) {
	for name, tc := range map[string]struct {
		fate  simetcd.Gate
		waits bool
	}{
		"reply lost":         {lost, true},
		"request lost":       {failed, true},
		"given up, applied":  {lost, false},
		"given up, in vain":  {failed, false},
		"nothing is the way": {func(context.Context, *simetcd.Call) error { return nil }, true},
	} {
		t.Run(name, func(t *testing.T) {
			inSim(t, func(t *testing.T, s *sim) {
				a := s.node("a", etcd.Options{})
				for _, cmd := range []metafora.Command{metafora.Freeze(), metafora.Unfreeze()} {
					if err := s.client(nil).SubmitCommand(t.Context(), "a", cmd); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				ctx, cancel := context.WithCancel(t.Context())
				a.gate.next(1, simetcd.KindTxn, func(ctx context.Context, c *simetcd.Call) error {
					if !tc.waits {
						cancel()
						synctest.Wait()
					}
					return tc.fate(ctx, c)
				})
				var got []string
				for len(got) < 2 {
					cmd, err := a.Command(ctx)
					switch {
					case err == nil:
						got = append(got, cmd.Name)
					case errors.Is(err, context.Canceled):
						ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
						defer cancel()
					default:
						t.Fatal(err)
					}
				}
				wantIDs(t, "commands", got, metafora.Freeze().Name, metafora.Unfreeze().Name)
				after(time.Minute)
				ctx, cancel2 := context.WithTimeout(t.Context(), time.Minute)
				defer cancel2()
				if cmd, err := a.Command(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a third command: %v, %v", cmd, err)
				}
				if left := s.List("/metafora/nodes/a/commands/"); len(left) > 0 {
					t.Errorf("left at the broker: %v", left)
				}
			})
		})
	}
}

// A command that was being taken when its caller went, and etcd answers late.
func TestCommandGivenUpWhileUnderWay(t *testing.T) {
	for name, effect := range map[string]bool{"took effect": true, "no effect": false} {
		t.Run(name, func(t *testing.T) {
			inSim(t, func(t *testing.T, s *sim) {
				a := s.node("a", etcd.Options{})
				if err := s.client(nil).SubmitCommand(t.Context(), "a", metafora.Freeze()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				calls := make(chan heldCall, 10)
				a.gate.set(kinds(hold(calls), simetcd.KindTxn))
				ctx, cancel := context.WithCancel(t.Context())
				got := make(chan error, 1)
				go func() {
					_, err := a.Command(ctx)
					got <- err
				}()
				call := <-calls
				cancel()
				if err := <-got; !errors.Is(err, metafora.ErrUncertain) {
					t.Errorf("Command returned %v", err)
				}
				a.gate.set(nil)
				if effect {
					call.Apply()
				}
				ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if cmd, err := a.Command(ctx); err != nil || cmd.Name != metafora.Freeze().Name {
					t.Errorf("the next Command returned %v, %v", cmd, err)
				}
				call.fate <- nil
				ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if cmd, err := a.Command(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("returned again: %v, %v", cmd, err)
				}
			})
		})
	}
}

func TestUncertainSubmissionIsReadBack(t *testing.T) {
	for name, tc := range map[string]struct {
		fate  simetcd.Gate
		after func(s *sim) // the write, before it is read back
		want  error
	}{
		"took effect": {fate: lost},
		"no effect":   {fate: failed, want: metafora.ErrUncertain},
		"there is another": {
			fate:  failed,
			after: func(s *sim) { s.submitDirectly("t") },
			want:  metafora.ErrTaskExists,
		},
		"already done": {
			fate: lost,
			after: func(s *sim) {
				if err := s.client(nil).DeleteTask(s.t.Context(), "t"); err != nil {
					s.t.Error(err)
				}
			},
			want: metafora.ErrUncertain,
		},
	} {
		t.Run(name, func(t *testing.T) {
			inSim(t, func(t *testing.T, s *sim) {
				g := &gate{}
				c := s.client(g)
				g.set(func(ctx context.Context, call *simetcd.Call) error {
					if call.Kind() != simetcd.KindTxn {
						return nil
					}
					err := tc.fate(ctx, call)
					if tc.after != nil {
						tc.after(s)
					}
					return err
				})
				err := c.SubmitTask(t.Context(), metafora.NewTask("t"))
				if !errors.Is(err, tc.want) || (tc.want == nil) != (err == nil) {
					t.Errorf("SubmitTask returned %v, want %v", err, tc.want)
				}
			})
		})
	}
}

func (s *sim) submitDirectly(id string) {
	if err := s.client(nil).SubmitTask(s.t.Context(), metafora.NewTask(id)); err != nil {
		s.t.Error(err)
	}
}

// The reply is lost, and then the caller's context ends, before or while it is
// read back: that is not a failure, it is not known.
func TestSubmissionGivenUpIsUncertain(t *testing.T) {
	for name, read := range map[string]bool{"before reading back": false, "while reading back": true} {
		t.Run(name, func(t *testing.T) {
			inSim(t, func(t *testing.T, s *sim) {
				g := &gate{}
				c := s.client(g)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				g.set(func(cctx context.Context, call *simetcd.Call) error {
					if call.Kind() == simetcd.KindTxn {
						if !read {
							cancel()
						}
						return lost(cctx, call)
					}
					return failed(cctx, call)
				})
				if err := c.SubmitTask(ctx, metafora.NewTask("t")); !errors.Is(err, metafora.ErrUncertain) {
					t.Errorf("SubmitTask returned %v, want ErrUncertain", err)
				}
			})
		})
	}
}

func TestOtherClientCallsSettleLostReplies(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		s.node("a", etcd.Options{})
		s.submit("t")
		g := &gate{}
		c := s.client(g)
		g.next(1, simetcd.KindTxn, lost)
		if err := c.SubmitCommand(t.Context(), "a", metafora.Freeze()); err != nil {
			t.Errorf("SubmitCommand: %v", err)
		}
		if got := s.List("/metafora/nodes/a/commands/"); len(got) != 1 {
			t.Errorf("%d commands", len(got))
		}
		g.next(1, simetcd.KindTxn, failed)
		if info, err := c.Task(t.Context(), "t"); err != nil || info.ID != "t" {
			t.Errorf("Task: %v, %v", info, err)
		}
		for _, kind := range []simetcd.Kind{simetcd.KindGet, simetcd.KindTxn} {
			g.next(2, kind, lost)
			if err := c.DeleteTask(t.Context(), "t"); err != nil {
				t.Errorf("DeleteTask: %v", err)
			}
			s.submit("t")
		}
		g.next(3, simetcd.KindGet, failed)
		if ts, err := c.Tasks(t.Context()); err != nil || len(ts) != 1 {
			t.Errorf("Tasks: %v, %v", ts, err)
		}
		g.next(3, simetcd.KindGet, failed)
		if ns, err := c.Nodes(t.Context()); err != nil || len(ns) != 1 {
			t.Errorf("Nodes: %v, %v", ns, err)
		}
	})
}
