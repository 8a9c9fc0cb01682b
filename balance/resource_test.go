package balance_test

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/balance"
)

// gauge is a resource whose usage a test sets.
type gauge struct {
	usage float64
	err   error
	reads int
}

func (g *gauge) Usage() (float64, error) {
	g.reads++
	return g.usage, g.err
}

func (g *gauge) String() string { return "gauge" }

func newResource(t *testing.T, g *gauge, opts ...balance.ResourceOption) *balance.Resource {
	t.Helper()
	b, err := balance.NewResource(g, 80, 90, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestResourceRefusesSenselessLimits(t *testing.T) {
	for _, c := range []struct{ claim, release float64 }{
		{0, 90}, {-1, 90}, {90, 90}, {91, 90}, {80, 101}, {math.NaN(), 90}, {80, math.NaN()},
	} {
		if _, err := balance.NewResource(&gauge{}, c.claim, c.release); !errors.Is(err, balance.ErrInvalidLimits) {
			t.Errorf("limits %v and %v: %v", c.claim, c.release, err)
		}
	}
	if _, err := balance.NewResource(nil, 80, 90); err == nil {
		t.Error("no error without a reporter")
	}
}

func TestResourceClaimsBelowItsLimitOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gauge{usage: 80}
		b := newResource(t, g, balance.WithSampling(3*time.Second))
		b.Init(onNode{name: "a"})
		until, ok := b.CanClaim(metafora.NewTask(task))
		if want := time.Now().Add(3 * time.Second); ok || !until.Equal(want) {
			t.Errorf("at the limit: until %v, %v; want %v", until, ok, want)
		}
		g.usage = 79
		if _, ok := b.CanClaim(metafora.NewTask(task)); ok || g.reads > 1 {
			t.Errorf("before the reading is old: %v, %d reads", ok, g.reads)
		}
		time.Sleep(time.Until(until))
		if _, ok := b.CanClaim(metafora.NewTask(task)); !ok {
			t.Error("below the limit: does not claim")
		}
	})
}

// What tasks use shows only after they were claimed.
func TestResourceClaimsNoMoreBetweenReadingsThanFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gauge{usage: 40}
		b := newResource(t, g)
		node := &onNode{name: "a", tasks: make([]string, 20)}
		b.Init(node)
		claimed := 0
		for {
			if _, ok := b.CanClaim(metafora.NewTask(task)); !ok {
				break
			}
			claimed++
			node.tasks = append(node.tasks, "")
		}
		// Twenty tasks use 40%, so that another twenty reach the limit.
		if claimed != 20 {
			t.Errorf("claimed %d", claimed)
		}
	})
}

func TestResourceReleasesTheOldestAboveItsLimit(t *testing.T) {
	for _, c := range []struct {
		usage float64
		tasks []string
		want  string
	}{
		{90, []string{"t1", "t2"}, ""},
		{91, []string{"t1", "t2", "t3"}, "t1"},
		{100, []string{"t01", "t02", "t03", "t04", "t05", "t06", "t07", "t08", "t09", "t10", "t11"}, "t01 t02"},
		{100, nil, ""},
	} {
		b := newResource(t, &gauge{usage: c.usage})
		b.Init(onNode{name: "a", tasks: c.tasks})
		if got := strings.Join(b.Balance(), " "); got != c.want {
			t.Errorf("at %v%%, of %v: released %q, want %q", c.usage, c.tasks, got, c.want)
		}
	}
}

func TestResourceThatCannotBeReadKeepsItsLatestReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		g := &gauge{err: errors.New("broken")}
		b := newResource(t, g, balance.WithLogger(hclog.New(&hclog.LoggerOptions{Output: &logged})))
		b.Init(onNode{name: "a"})
		if _, ok := b.CanClaim(metafora.NewTask(task)); !ok {
			t.Error("refuses without any reading")
		}
		for _, reading := range []gauge{{usage: 85}, {err: errors.New("broken")}, {usage: math.NaN()}, {usage: -1}} {
			time.Sleep(time.Minute)
			*g = reading
			if _, ok := b.CanClaim(metafora.NewTask(task)); ok {
				t.Errorf("claims after reading %v, %v", reading.usage, reading.err)
			}
		}
		if n := strings.Count(logged.String(), "[WARN]"); n != 2 {
			t.Errorf("%d warnings for two failures in a row:\n%s", n, &logged)
		}
	})
}

// The usage falls only once handlers have stopped.
func TestResourceDoesNotReleaseMoreBeforeTheFirstShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := balance.NewResource(constant(100), 50, 75)
		if err != nil {
			t.Fatal(err)
		}
		b.Init(onNode{name: "a", tasks: make([]string, 100)})
		released := 0
		for range 10 {
			released += len(b.Balance())
			time.Sleep(time.Second)
		}
		if released != 50 {
			t.Errorf("%d tasks released, want 25 at once and after five seconds", released)
		}
	})
}
