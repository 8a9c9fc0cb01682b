package balance_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/balance"
)

// says is a balancer of few words.
type says struct {
	until   time.Time
	ok      bool
	release []string
	asked   *int
}

func (s says) Init(metafora.BalancerContext) { *s.asked++ }

func (s says) CanClaim(metafora.Task) (time.Time, bool) {
	*s.asked++
	return s.until, s.ok
}

func (s says) Balance() []string { return s.release }

func TestCombineClaimsWhenAllAgreeAndAsksAll(t *testing.T) {
	soon, later := time.Unix(1, 0), time.Unix(2, 0)
	for _, c := range []struct {
		name  string
		of    []says
		until time.Time
		ok    bool
	}{
		{"none", nil, time.Time{}, true},
		{"all agree", []says{{ok: true}, {ok: true, until: later}}, time.Time{}, true},
		{"one refuses", []says{{until: soon}, {ok: true, until: later}}, soon, false},
		{"both refuse", []says{{until: later}, {until: soon}}, later, false},
	} {
		asked := 0
		var of []metafora.Balancer
		for _, s := range c.of {
			s.asked = &asked
			of = append(of, s)
		}
		b := balance.Combine(of...)
		b.Init(onNode{name: "a"})
		until, ok := b.CanClaim(metafora.NewTask(task))
		if ok != c.ok || !until.Equal(c.until) {
			t.Errorf("%s: until %v, %v; want %v, %v", c.name, until, ok, c.until, c.ok)
		}
		if asked != 2*len(of) {
			t.Errorf("%s: initialised and asked %d times", c.name, asked)
		}
	}
}

func TestCombineReleasesEachTaskOnce(t *testing.T) {
	b := balance.Combine(says{release: []string{"t1", "t2"}}, says{}, says{release: []string{"t3", "t2", "t4"}})
	if got, want := b.Balance(), []string{"t1", "t2", "t3", "t4"}; !slices.Equal(got, want) {
		t.Errorf("released %v, want %v", got, want)
	}
}

// Each of two balancers that delay a task must not forget it while the other's
// delay runs.
func TestCombinedDelaysComeToAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := fixed{"a": 100, "b": 100, "c": 100}
		node := onNode{name: "b", tasks: make([]string, 100)}
		b := balance.Combine(
			balance.NewRendezvous(cluster, balance.WithDelay(200*time.Millisecond)),
			balance.NewLoadDelay(balance.WithMaxDelay(10*time.Second), balance.WithPerTask(time.Second)),
		)
		b.Init(node)
		start := time.Now()
		for time.Since(start) < 5*time.Minute {
			until, ok := b.CanClaim(metafora.NewTask(task))
			if ok {
				return
			}
			time.Sleep(time.Until(until))
		}
		t.Error("the task is never claimed")
	})
}
