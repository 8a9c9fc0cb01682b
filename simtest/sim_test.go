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
