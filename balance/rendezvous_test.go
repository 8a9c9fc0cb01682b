package balance_test

import (
	"testing"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/balance"
)

func newRendezvous(n *modelNode) metafora.Balancer { return balance.NewRendezvous(n) }

func newFair(n *modelNode) metafora.Balancer { return balance.NewFair(n) }

func (m *model) check(t *testing.T) {
	t.Helper()
	for _, fault := range m.faults {
		t.Error(fault)
	}
}

func TestMassStartOfRendezvousCostsOneAttemptEach(t *testing.T) {
	m := run(t, config{balancer: newRendezvous}, func(m *model) {
		m.joinAll(16)
		m.pass(time.Second)
		m.submit(10_000)
		m.settle(10 * time.Second)
	})
	m.check(t)
	if m.attempts > 11_000 {
		t.Errorf("%d attempts to claim 10000 tasks", m.attempts)
	}
}
