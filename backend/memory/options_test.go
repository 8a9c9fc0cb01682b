package memory_test

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
)

func TestBadOptionsSurfaceAtInit(t *testing.T) {
	b := memory.NewBroker()
	for name, test := range map[string]struct {
		opts []memory.Option
		want string
	}{
		"negative TTL":    {[]memory.Option{memory.WithTTL(-1)}, "TTL"},
		"margin over TTL": {[]memory.Option{memory.WithTTL(time.Second), memory.WithMargin(time.Second)}, "margin"},
		"negative margin": {[]memory.Option{memory.WithMargin(-1)}, "margin"},
		"negative weight": {[]memory.Option{memory.WithWeight(-1)}, "weight"},
		"no weight":       {[]memory.Option{memory.WithWeight(math.NaN())}, "weight"},
	} {
		t.Run(name, func(t *testing.T) {
			c := b.Coordinator("a", test.opts...)
			defer c.Close()
			err := c.Init(t.Context(), &node{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want one that names the %s", err, test.want)
			}
		})
	}
	for _, name := range []string{"", "a\nb", strings.Repeat("a", metafora.MaxIDLen+1)} {
		c := b.Coordinator(name)
		defer c.Close()
		wantErr(t, c.Init(t.Context(), &node{}), metafora.ErrInvalidID)
	}
}

func TestOptionsOfANodeOverrideTheBrokers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker(memory.WithTTL(time.Minute), memory.WithWeight(3))
		a := join(t, b, "a")
		if got := time.Until(a.LeaseDeadline()); got != 48*time.Second {
			t.Errorf("the lease is safe for %v, want the TTL less a fifth", got)
		}
		other := join(t, b, "other", memory.WithTTL(time.Second), memory.WithMargin(time.Second/2))
		if got := time.Until(other.LeaseDeadline()); got != time.Second/2 {
			t.Errorf("the lease is safe for %v, want 500ms", got)
		}
		if w := other.Nodes()[1].Weight; w != 3 {
			t.Errorf("weight %v, want 3", w)
		}
	})
}
