package memory_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/statemachine"
)

func sleeping() statemachine.State {
	now := time.Now()
	return statemachine.State{Code: statemachine.Sleeping, Since: now, Until: now.Add(time.Hour)}
}

func TestStateOutlivesClaimsAndTheTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		ctx, client := t.Context(), b.Client()
		a, other := join(t, b, "a"), join(t, b, "other")
		claim := a.claim("t")[0]
		_, err := a.StateStore().Load(ctx, claim)
		wantErr(t, err, statemachine.ErrNoState)
		want := sleeping()
		wantNoErr(t, a.StateStore().Store(ctx, claim, want, 0))
		wantNoErr(t, a.Release(ctx, claim))

		claim = other.claim("t")[0]
		got, err := other.StateStore().Load(ctx, claim)
		if err != nil || !got.Equal(want) {
			t.Fatalf("loaded %v, %v, want %v", got, err, want)
		}
		wantNoErr(t, other.Done(ctx, claim))
		if got, err = client.State(ctx, "t"); err != nil || !got.Equal(want) {
			t.Fatalf("after Done: %v, %v, want %v", got, err, want)
		}
		submit(t, b, "t")
		_, err = client.State(ctx, "t")
		wantErr(t, err, statemachine.ErrNoState)
	})
}

func TestStateIsFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		ctx := t.Context()
		a, other := join(t, b, "a"), join(t, b, "other")
		stale := a.claim("t")[0]
		b.DeleteOwner("t")
		wantRefused := func() {
			t.Helper()
			wantErr(t, a.StateStore().Store(ctx, stale, sleeping(), 0), metafora.ErrNotOwner)
			_, err := a.StateStore().Load(ctx, stale)
			wantErr(t, err, metafora.ErrNotOwner)
			_, err = b.Client().State(ctx, "t")
			wantErr(t, err, statemachine.ErrNoState)
		}
		wantRefused()
		other.claim("t")
		wantRefused()
	})
}

func TestStoreRemovesTheHandledCommandUnlessReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		ctx := t.Context()
		a := join(t, b, "a")
		claim := a.claim("t")[0]
		commands, stop := a.CommandListener().Listen(claim)
		send(t, b, "t", statemachine.Pause())
		first := wantReceived(t, commands, statemachine.CodePause)
		send(t, b, "t", statemachine.Run())
		wantNoErr(t, a.StateStore().Store(ctx, claim, sleeping(), first.ID))
		stop()

		commands, stop = a.CommandListener().Listen(claim)
		second := wantReceived(t, commands, statemachine.CodeRun)
		wantNoErr(t, a.StateStore().Store(ctx, claim, sleeping(), 0))
		wantNoErr(t, a.StateStore().Store(ctx, claim, sleeping(), second.ID))
		stop()
		commands, stop = a.CommandListener().Listen(claim)
		defer stop()
		wantNothing(t, commands)
	})
}

func TestResubmissionHasNoCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		send(t, b, "t", statemachine.Kill())
		wantNoErr(t, b.Client().DeleteTask(t.Context(), "t"))
		submit(t, b, "t")
		a := join(t, b, "a")
		commands, stop := a.CommandListener().Listen(a.claim("t")[0])
		defer stop()
		wantNothing(t, commands)
	})
}

func TestCorruptStateIsKept(t *testing.T) {
	for _, value := range []string{"", "{", "null", "{}", `{"state":"dancing"}`} {
		t.Run(value, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memory.NewBroker()
				submit(t, b, "t")
				b.PutRawState("t", []byte(value))
				a := join(t, b, "a")
				claim := a.claim("t")[0]
				for range 2 {
					_, err := a.StateStore().Load(t.Context(), claim)
					wantErr(t, err, statemachine.ErrCorruptState)
					_, err = b.Client().State(t.Context(), "t")
					wantErr(t, err, statemachine.ErrCorruptState)
				}
			})
		})
	}
}

func TestInvalidStateIsNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t")
		a := join(t, b, "a")
		claim := a.claim("t")[0]
		err := a.StateStore().Store(t.Context(), claim, statemachine.State{Code: "dancing"}, 0)
		wantErr(t, err, statemachine.ErrInvalidState)
		_, err = a.StateStore().Load(t.Context(), claim)
		wantErr(t, err, statemachine.ErrNoState)
	})
}
