package balance

import (
	"cmp"
	"testing"

	"pgregory.net/rapid"
)

// The weights of a cluster may become equal, or differ, while nodes come and go: tasks
// must not move for that.
func TestEqualWeightsRankLikeNone(t *testing.T) {
	r := NewRendezvous(nil)
	rapid.Check(t, func(t *rapid.T) {
		task := rapid.Uint64().Draw(t, "task")
		weight := rapid.Float64Range(0.1, 100).Draw(t, "weight")
		r.members.list = nil
		for range 2 {
			r.members.list = append(r.members.list, member{
				seed: rapid.Uint64().Draw(t, "seed"), weight: weight, wanted: rapid.Bool().Draw(t, "wanted"), active: rapid.Bool().Draw(t, "active"),
				silent: rapid.IntRange(0, 9).Draw(t, "silent") == 0,
			})
		}
		r.members.weight = 2 * weight
		loads := []int{rapid.IntRange(0, 20).Draw(t, "load"), rapid.IntRange(0, 20).Draw(t, "load")}
		order := func(uniform bool) int {
			r.members.uniform = uniform
			return cmp.Compare(r.rank(0, task, loads[0], 20), r.rank(1, task, loads[1], 20))
		}
		if a, b := order(true), order(false); a != b {
			t.Errorf("%d with equal weights, %d with weights that happen to be equal", a, b)
		}
	})
}

// Silent members come after all others, whatever their hash, then full ones; needy ones
// come before others, and those on trial before all.
func TestTiersComeBeforeHashes(t *testing.T) {
	r := NewRendezvous(nil)
	rapid.Check(t, func(t *rapid.T) {
		uniform := rapid.Bool().Draw(t, "uniform")
		r.members = members{weight: 4, uniform: uniform}
		for range 5 {
			r.members.list = append(r.members.list, member{seed: rapid.Uint64().Draw(t, "seed"), weight: 1, active: true, wanted: true})
		}
		r.members.list[0].active = false
		r.members.list[4].silent = true
		// The share of each is 10 of 40.
		loads := []int{5, 2, 10, 12, 5}
		for i := range 4 {
			a, b := r.rank(i, 1, loads[i], 40), r.rank(i+1, 1, loads[i+1], 40)
			if a >= b {
				t.Errorf("member %d ranks as %x, member %d as %x", i, a, i+1, b)
			}
			if a.home() >= newRank(free, 0) {
				t.Errorf("at home it ranks as %x", a.home())
			}
		}
	})
}
