package memory

import (
	"fmt"
	"testing"

	"github.com/metafora-go/metafora"
)

func TestNodeSetHoldsWhatWasAdded(t *testing.T) {
	var s nodeSet
	for _, n := range []int{0, 63, 64, 500} {
		s.add(n)
	}
	s.remove(64)
	s.remove(1000)
	for n := range 600 {
		want := n == 0 || n == 63 || n == 500
		if s.has(n) != want {
			t.Errorf("has(%d) is %t", n, !want)
		}
	}
	u := union(nodeSet{1}, s)
	u.add(7)
	if s.has(7) || !u.has(0) || !u.has(500) || len(union(nil, nil)) != 0 {
		t.Error("union shares its result with its operands, or misses some")
	}
}

// uncomparable is of a comparable type that may hold what == panics on.
type uncomparable struct{ v any }

func (uncomparable) ID() string { return "t" }

func TestSameTaskComparesWhateverTasksAre(t *testing.T) {
	for _, test := range []struct {
		a, b metafora.Task
		want bool
	}{
		{metafora.NewTask("t"), metafora.NewTask("t"), true},
		{metafora.NewTask("t"), metafora.NewTask("u"), false},
		{metafora.NewTask("t"), uncomparable{}, false},
		{nil, metafora.NewTask("t"), false},
		{uncomparable{1}, uncomparable{1}, true},
		{uncomparable{[]int{1}}, uncomparable{[]int{1}}, true},
		{uncomparable{[]int{1}}, uncomparable{1}, false},
		{&uncomparable{1}, &uncomparable{1}, false},
	} {
		if got := sameTask(test.a, test.b); got != test.want {
			t.Errorf("sameTask(%#v, %#v) is %t", test.a, test.b, got)
		}
	}
}

func TestMemoryOfEndedTasksIsBounded(t *testing.T) {
	e := endedTasks{byID: make(map[string]*endedTask)}
	e.add("again", nodeSet{1})
	e.take("again")
	for i := range maxEnded - 1 {
		e.add(fmt.Sprint("t", i), nodeSet{1})
	}
	// The newer entry of an ID must survive the older one's end.
	e.add("again", nodeSet{1})
	e.add("nobody saw it", nil)
	if len(e.order) != maxEnded || len(e.byID) != maxEnded {
		t.Fatalf("%d entries, %d IDs, want %d", len(e.order), len(e.byID), maxEnded)
	}
	if !e.take("again").has(0) || !e.take("t0").has(0) {
		t.Fatal("entries were forgotten before there were too many")
	}
	e.add("t", nodeSet{1})
	e.add("u", nodeSet{1})
	e.add("v", nodeSet{1})
	if e.take("t2") != nil || !e.take("t3").has(0) {
		t.Fatal("not the oldest entries were forgotten")
	}
}
