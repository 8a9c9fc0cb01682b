package balance

import (
	"testing"
	"time"
)

func TestTallyExpectsWhatIsOnItsWay(t *testing.T) {
	type step struct {
		after  time.Duration
		count  int
		add    int
		want   int
		missed bool
	}
	const window = time.Second
	for name, steps := range map[string][]step{
		"arrives": {
			{0, 5, 3, 8, false}, {100 * time.Millisecond, 7, 0, 8, false}, {100 * time.Millisecond, 8, 0, 8, false}, {time.Hour, 8, 0, 8, false},
		},
		"arrives in the next window": {
			{0, 5, 1, 6, false}, {window, 5, 0, 6, false}, {window / 2, 6, 0, 6, false}, {0, 6, 1, 7, false}, {window / 2, 6, 0, 7, false},
		},
		"never arrives": {
			{0, 5, 1, 6, false}, {window, 5, 0, 6, false}, {window, 5, 0, 5, true}, {window, 5, 0, 5, false},
		},
		"never arrives, and nobody looks for long": {
			{0, 5, 2, 7, false}, {time.Hour, 5, 0, 5, true},
		},
		"some arrive": {
			{0, 5, 3, 8, false}, {window, 6, 0, 8, false}, {window, 6, 0, 6, false},
		},
		"more arrive than were seen": {
			{0, 5, 1, 6, false}, {window / 2, 9, 0, 9, false}, {0, 9, 2, 9, false}, {0, 9, 2, 10, false},
		},
		"others end": {
			{0, 5, 2, 7, false}, {window / 2, 3, 0, 5, false},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var tally tally
			now := time.Unix(1000, 0)
			for i, s := range steps {
				now = now.Add(s.after)
				missed := tally.observe(now, window, s.count)
				for range s.add {
					tally.add()
				}
				if got := tally.expected(); got != s.want || missed != s.missed {
					t.Fatalf("step %d: expects %d, missed %v; want %d, %v", i, got, missed, s.want, s.missed)
				}
			}
		})
	}
}
