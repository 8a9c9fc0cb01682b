package memory_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/statemachine"
)

// script does random things to a broker, from one goroutine, and writes down
// what came of them.
type script struct {
	t          *testing.T
	b          *memory.Broker
	r          *rand.Rand
	nodes      []*node
	made       int
	claims     []metafora.Claim
	transcript strings.Builder
}

func (s *script) step(i int) {
	ctx, client := s.t.Context(), s.b.Client()
	id := fmt.Sprint("t", s.r.IntN(12))
	n := s.nodes[s.r.IntN(len(s.nodes))]
	var result any
	kind := s.r.IntN(15)
	switch kind {
	case 0, 1:
		result = client.SubmitTask(ctx, &job{id, fmt.Sprint(i)})
	case 2:
		result = client.DeleteTask(ctx, id)
	case 3, 4, 5:
		n.mu.Lock()
		announced := slices.Clone(n.announced)
		n.mu.Unlock()
		if len(announced) > 0 {
			claim, err := n.Claim(ctx, announced[s.r.IntN(len(announced))])
			if err == nil {
				s.claims = append(s.claims, claim)
			}
			result = fmt.Sprint(claim, err)
		}
	case 6, 7, 8:
		if len(s.claims) > 0 {
			claim := s.claims[s.r.IntN(len(s.claims))]
			for _, n := range s.nodes {
				if n.Name() == claim.Node {
					result = s.finish(n, claim)
				}
			}
		}
	case 9:
		result = client.Send(ctx, id, statemachine.Pause())
	case 10:
		result = s.b.DeleteOwner(id) || s.b.ExpireLease(n.Name())
	case 11:
		result = s.b.Partition(n.Name())
	case 12:
		s.b.Heal(n.Name())
	case 13:
		s.b.Kill(n.Name())
		s.made++
		s.nodes = append(s.nodes, s.join())
		s.nodes = slices.DeleteFunc(s.nodes, func(m *node) bool { return m == n })
	case 14:
		s.b.Compact()
		time.Sleep(time.Duration(s.r.IntN(int(ttl))))
	}
	synctest.Wait()
	fmt.Fprintln(&s.transcript, i, kind, result, s.b.Revision())
}

func (s *script) finish(n *node, claim metafora.Claim) error {
	switch s.r.IntN(3) {
	case 0:
		return n.Done(s.t.Context(), claim)
	case 1:
		return n.Release(s.t.Context(), claim)
	}
	return n.StateStore().Store(s.t.Context(), claim, statemachine.State{Code: statemachine.Paused, Since: time.Now()}, 0)
}

func (s *script) join() *node {
	n := join(s.t, s.b, fmt.Sprint("n", s.made), memory.WithTaskFunc(decodeJob))
	n.watch()
	return n
}

// check compares what the nodes and the broker know of claims once all faults
// have ended.
func (s *script) check() {
	for _, n := range s.nodes {
		s.b.Heal(n.Name())
	}
	synctest.Wait()
	infos, err := s.b.Client().Tasks(s.t.Context())
	wantNoErr(s.t, err)
	owned := make(map[string]int)
	for _, info := range infos {
		fmt.Fprintln(&s.transcript, info)
		if info.Owner != "" {
			owned[info.Owner]++
		}
		for _, n := range s.nodes {
			if n.Claimable(info.ID) != (info.Owner == "") {
				s.t.Fatalf("node %q: Claimable(%q) disagrees with the owner %q", n.Name(), info.ID, info.Owner)
			}
		}
	}
	for _, n := range s.nodes {
		for name, want := range owned {
			if got := n.NodeTaskCount(name); got != want {
				s.t.Fatalf("node %q counts %d tasks of %q, want %d", n.Name(), got, name, want)
			}
		}
		n.mu.Lock()
		fmt.Fprintln(&s.transcript, n.Name(), n.announced, n.losses, n.Nodes())
		n.mu.Unlock()
	}
}

func runScript(t *testing.T, seed uint64) (transcript []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &script{t: t, b: memory.NewBroker(), r: rand.New(rand.NewPCG(seed, 0))}
		for range 4 {
			s.made++
			s.nodes = append(s.nodes, s.join())
		}
		for i := range 300 {
			s.step(i)
		}
		s.check()
		transcript = strings.Split(s.transcript.String(), "\n")
	})
	return transcript
}

func TestSameCallsHaveTheSameResults(t *testing.T) {
	for seed := range uint64(20) {
		first, second := runScript(t, seed), runScript(t, seed)
		for i := range first {
			if i >= len(second) || first[i] != second[i] {
				t.Fatalf("seed %d: two runs differ in line %d:\n%s\n%s", seed, i, first[i], second[min(i, len(second)-1)])
			}
		}
	}
}
