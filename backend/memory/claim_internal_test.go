package memory

import (
	"errors"
	"testing"

	"github.com/metafora-go/metafora"
)

// noLosses is a CoordinatorContext for which losses are errors.
type noLosses struct{ t *testing.T }

func (n noLosses) Lost(c metafora.Claim, cause error) { n.t.Errorf("Lost(%v, %v)", c, cause) }
func (n noLosses) ClusterChanged()                    {}

// The broker may take a claim back before Claim has told of it.
func TestClaimLostBeforeItReturnedIsAnErrorAndNotReported(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(*Broker)
		want error
	}{
		"task deleted":  {func(b *Broker) { b.Client().DeleteTask(t.Context(), "t") }, metafora.ErrNotOwner},
		"owner deleted": {func(b *Broker) { b.DeleteOwner("t") }, metafora.ErrNotOwner},
		"lease revoked": {func(b *Broker) { b.ExpireLease("a") }, metafora.ErrLeaseLost},
		"node killed":   {func(b *Broker) { b.Kill("a") }, ErrKilled},
	} {
		t.Run(name, func(t *testing.T) {
			b := NewBroker()
			if err := b.Client().SubmitTask(t.Context(), metafora.NewTask("t")); err != nil {
				t.Fatal(err)
			}
			c := b.Coordinator("a")
			defer c.Close()
			if err := c.Init(t.Context(), noLosses{t}); err != nil {
				t.Fatal(err)
			}
			o, err := c.claim(t.Context(), metafora.NewTask("t"))
			if err != nil {
				t.Fatal(err)
			}
			test.end(b)
			if err := c.grant(o); !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
		})
	}
}
