package balance

import (
	"testing"

	"pgregory.net/rapid"
)

// The portions of all nodes add up to what the taker lacks, and none gives more
// than its part rounded up.
func TestPortionsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.Float64Range(0, 100), 1, 200).Draw(t, "parts")
		length := 0.0
		for _, p := range parts {
			length += p
		}
		lack := rapid.IntRange(0, int(length)).Draw(t, "lack")
		phase := rapid.Float64Range(0, 0.999).Draw(t, "phase")
		density := float64(lack) / max(length, 1)
		sum, at := 0, 0.0
		for _, p := range parts {
			n := row{length: length, start: at, end: at + p}.portion(density, phase)
			if n < 0 || n > ceil(density*p+1) {
				t.Errorf("a part of %v gives %d", p, n)
			}
			sum, at = sum+n, at+p
		}
		if length >= 1 && sum != lack {
			t.Errorf("%d given, %d lacking", sum, lack)
		}
	})
}

// A node that gave all it can is not needy for that: it would claim the tasks back.
func TestGivingMakesNobodyNeedy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		share := rapid.Float64Range(0, 1000).Draw(t, "share")
		factor := rapid.Float64Range(1, 4).Draw(t, "factor")
		if n := keep(share); n < scarce(share, factor) {
			t.Errorf("with %d of %v a node is needy", n, share)
		}
	})
}
