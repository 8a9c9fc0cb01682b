package metafora

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// However tasks come, are announced again and hastened, the queue gives out the one that
// is due first, and of those that are due at once the one that came first.
func TestDeferredQueueKeepsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type waiting struct {
			id     string
			due    time.Time
			seq    int
			reason DeferReason
		}
		var (
			q      = newDeferredQueue()
			model  []waiting
			start  = time.Unix(0, 0)
			reason = rapid.SampledFrom([]DeferReason{DeferredByBalancer, DeferredByError})
		)
		byTurn := func(a, b waiting) int { return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.seq, b.seq)) }
		takeFirst := func() {
			slices.SortFunc(model, byTurn)
			first := q.first()
			if first.d.id != model[0].id || !first.due.Equal(model[0].due) {
				t.Fatalf("first is %s at %v, want %v", first.d.id, first.due, model[0])
			}
			q.remove(first.d)
			model = model[1:]
		}
		for n := range rapid.IntRange(0, 60).Draw(t, "steps") {
			at := start.Add(time.Duration(rapid.IntRange(0, 9).Draw(t, "at")) * time.Second)
			switch op := rapid.IntRange(0, 5).Draw(t, "operation"); {
			case op == 0 && len(model) > 0:
				takeFirst()
			case op == 1 && len(model) > 0:
				i := rapid.IntRange(0, len(model)-1).Draw(t, "announced")
				waits := q.announced(NewTask(model[i].id), at)
				if waits != (model[i].reason != DeferredByBalancer) {
					t.Fatalf("%v waits: %t", model[i], waits)
				}
				if !waits {
					model = slices.Delete(model, i, i+1)
				}
			case op == 2:
				q.hasten(at)
				for i, w := range model {
					if w.reason == DeferredByBalancer && w.due.After(at) {
						model[i].due = at
					}
				}
			default:
				w := waiting{fmt.Sprint(n), at, n, reason.Draw(t, "reason")}
				q.add(candidate{task: NewTask(w.id)}, w.due, w.reason)
				model = append(model, w)
			}
			if q.tasks != len(model) || len(q.list()) != len(model) {
				t.Fatalf("%d and %d tasks, want %d", q.tasks, len(q.list()), len(model))
			}
		}
		for len(model) > 0 {
			takeFirst()
		}
		if q.first() != nil || len(q.byID) > 0 {
			t.Errorf("left: %v, %v", q.turns, q.byID)
		}
	})
}
