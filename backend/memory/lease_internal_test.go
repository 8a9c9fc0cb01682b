package memory

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
)

// lossList is a CoordinatorContext that notes the causes of losses.
type lossList struct{ causes []error }

func (l *lossList) Lost(_ metafora.Claim, cause error) { l.causes = append(l.causes, cause) }
func (l *lossList) ClusterChanged()                    {}

// A process that was suspended finds all of its timers due at once. The one of
// the renewal, which comes first, must not renew what is past the deadline.
func TestProcessThatSleptPastItsDeadlineLosesItsClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBroker()
		if err := b.Client().SubmitTask(t.Context(), metafora.NewTask("t")); err != nil {
			t.Fatal(err)
		}
		var losses lossList
		c := b.Coordinator("a")
		defer c.Close()
		if err := c.Init(t.Context(), &losses); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Claim(t.Context(), metafora.NewTask("t")); err != nil {
			t.Fatal(err)
		}
		b.alarms.timer.Stop()
		time.Sleep(9 * time.Second) // past the deadline, not past the TTL

		if !c.Claimable("t") {
			t.Error("the node that slept still owns its task")
		}
		if !slices.EqualFunc(losses.causes, []error{metafora.ErrLeaseLost}, errors.Is) {
			t.Errorf("losses: %v", losses.causes)
		}
		if !c.LeaseDeadline().After(time.Now()) {
			t.Error("the node has not joined again")
		}
	})
}
