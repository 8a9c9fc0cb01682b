package simtest

import (
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"
)

func TestSpeed(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("SPEED"))
	if n == 0 {
		t.Skip()
	}
	cpu := func() time.Duration {
		var u syscall.Rusage
		syscall.Getrusage(0, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	for _, b := range []Backend{Etcd, Memory} {
		if o := os.Getenv("ONLY"); o != "" && o != string(b) {
			continue
		}
		cfg, _ := Config{Backend: b}.withDefaults()
		began := cpu()
		var explore time.Duration
		for seed := range uint64(n) {
			once(t, cfg, newSeeded(seed), func(s *Sim) {
				s0 := cpu()
				s.Explore()
				explore += cpu() - s0
				s.Settle()
			})
		}
		d := cpu() - began
		t.Logf("%s: %v CPU each, %.0f/s; explore %v", b, d/time.Duration(n), float64(n)/d.Seconds(), explore/time.Duration(n))
	}
}
