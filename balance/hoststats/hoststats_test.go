package hoststats

import (
	"errors"
	"testing"

	"github.com/shirou/gopsutil/v4/cpu"

	"github.com/metafora-go/metafora/balance"
)

func TestUsageOfThisHostIsAPercentage(t *testing.T) {
	for _, r := range []balance.Reporter{NewMemory(), NewCPU()} {
		for range 3 {
			if usage, err := r.Usage(); err != nil || usage < 0 || usage > 100 {
				t.Errorf("%s: %v, %v", r, usage, err)
			}
		}
	}
}

func TestCPUReportsWhatPassedSinceLastAsked(t *testing.T) {
	var now cpu.TimesStat
	c := &CPU{read: func() (cpu.TimesStat, error) { return now, nil }}
	for i, step := range []struct {
		times cpu.TimesStat
		want  float64
	}{
		{cpu.TimesStat{User: 10, System: 10, Idle: 60, Iowait: 20}, 20},
		{cpu.TimesStat{User: 40, System: 10, Idle: 70, Iowait: 20}, 75},
		// Nothing passed, or the counters ran backwards: as before.
		{cpu.TimesStat{User: 40, System: 10, Idle: 70, Iowait: 20}, 75},
		{cpu.TimesStat{User: 40, System: 10, Idle: 65, Iowait: 20}, 75},
		{cpu.TimesStat{User: 40, System: 10, Idle: 80, Iowait: 20}, 0},
		// Guest time is part of user time.
		{cpu.TimesStat{User: 50, Guest: 10, System: 10, Idle: 80, Iowait: 20}, 100},
	} {
		now = step.times
		if got, err := c.Usage(); got != step.want || err != nil {
			t.Errorf("step %d: %v, %v; want %v", i, got, err, step.want)
		}
	}
}

func TestCPUThatCannotBeReadSaysSo(t *testing.T) {
	broken := errors.New("broken")
	c := &CPU{read: func() (cpu.TimesStat, error) { return cpu.TimesStat{}, broken }}
	if _, err := c.Usage(); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}
