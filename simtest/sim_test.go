package simtest_test

import (
	"testing"

	"github.com/metafora-go/metafora/simtest"
)

func TestEtcdKeepsItsPromises(t *testing.T) {
	simtest.Run(t, simtest.Config{}, nil)
}

func TestMemoryKeepsItsPromises(t *testing.T) {
	simtest.Run(t, simtest.Config{Backend: simtest.Memory}, nil)
}

func TestStatefulTasksKeepTheirPromises(t *testing.T) {
	for _, backend := range []simtest.Backend{simtest.Etcd, simtest.Memory} {
		t.Run(string(backend), func(t *testing.T) {
			simtest.Run(t, simtest.Config{Backend: backend, Stateful: true}, nil)
		})
	}
}
