// Package hoststats reports how busy this host is, to a [balance.Resource]
// balancer:
//
//	memory, err := balance.NewResource(hoststats.NewMemory(), 80, 90)
//	...
//	balancer := balance.Combine(balance.NewRendezvous(coord), memory)
//
// It is a package of its own so that programs without such a balancer do not
// link what reads these figures.
//
// The figures are those of the host. A program in a container with a limit of its
// own should write a [balance.Reporter] that reads that limit.
package hoststats

import (
	"errors"
	"fmt"
	"sync"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/mem"

	"github.com/metafora-go/metafora/balance"
)

// Memory reports how much of the host's memory is in use. Memory that the system
// would give back when asked, such as its file cache, does not count.
type Memory struct{}

var _ balance.Reporter = (*Memory)(nil)

// NewMemory returns a reporter of the host's memory.
func NewMemory() *Memory { return &Memory{} }

// Usage implements [balance.Reporter].
func (*Memory) Usage() (percent float64, err error) {
	m, err := mem.VirtualMemory()
	if err != nil {
		return 0, fmt.Errorf("read memory usage: %w", err)
	}
	if m.Total == 0 {
		return 0, errors.New("read memory usage: no total")
	}
	return 100 * (1 - float64(m.Available)/float64(m.Total)), nil
}

func (*Memory) String() string { return "memory" }

// CPU reports how busy the processors of the host were, on average over all of
// them, since it was last asked. It is safe for concurrent use.
type CPU struct {
	read func() (cpu.TimesStat, error)

	mu          sync.Mutex // guards what follows
	busy, total float64    // seconds, as of the last reading
	percent     float64
}

var _ balance.Reporter = (*CPU)(nil)

// NewCPU returns a reporter of the host's processors.
func NewCPU() *CPU { return &CPU{read: readTimes} }

// Usage implements [balance.Reporter]. The first call returns the average since
// the host was started.
func (c *CPU) Usage() (percent float64, err error) {
	t, err := c.read()
	if err != nil {
		return 0, fmt.Errorf("read processor usage: %w", err)
	}
	// Guest time is contained in user time.
	busy := t.User + t.Nice + t.System + t.Irq + t.Softirq + t.Steal
	total := busy + t.Idle + t.Iowait

	c.mu.Lock()
	defer c.mu.Unlock()
	// Counters of some kernels run backwards by a little; two readings in
	// quick succession may not differ. The previous result stands then.
	if passed := total - c.total; passed > 0 {
		c.percent = 100 * min(1, max(0, (busy-c.busy)/passed))
		c.busy, c.total = busy, total
	}
	return c.percent, nil
}

func (*CPU) String() string { return "cpu" }

func readTimes() (cpu.TimesStat, error) {
	times, err := cpu.Times(false)
	if err != nil {
		return cpu.TimesStat{}, err
	}
	if len(times) == 0 {
		return cpu.TimesStat{}, errors.New("no processors")
	}
	return times[0], nil
}
