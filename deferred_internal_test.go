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
			model  []waiting
			start  = time.Unix(0, 0)
			q      = newDeferredQueue(start)
			reason = rapid.SampledFrom([]DeferReason{DeferredByBalancer, DeferredByError})
		)
		byTurn := func(a, b waiting) int { return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.seq, b.seq)) }
		takeFirst := func() {
			slices.SortFunc(model, byTurn)
			first, due := q.first()
			if first.id != model[0].id || !due.Equal(model[0].due) || q.take() != first {
				t.Fatalf("first is %s at %v, want %v", first.id, due, model[0])
			}
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
			if n := len(q.hastened) + len(q.refused) + len(q.others); n > 2*len(model) {
				t.Fatalf("%d turns of %d tasks", n, len(model))
			}
		}
		for len(model) > 0 {
			takeFirst()
		}
		if first, _ := q.first(); first != nil || len(q.byID)+q.gone > 0 {
			t.Errorf("left: %v, %v, %d gone", first, q.byID, q.gone)
		}
	})
}
