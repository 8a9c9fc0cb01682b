package backendtest

import (
	"errors"
	"sync"
)

// parallel calls f for 0 to n-1, all at once, and fails the check when one
// returns an error.
func (c *cluster) parallel(n int, f func(i int) error) {
	c.t.Helper()
	c.must("concurrent calls", errors.Join(c.race(n, f)...))
}

// race calls f for 0 to n-1, all at once, and returns the errors in that order.
func (c *cluster) race(n int, f func(i int) error) []error {
	c.t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	c.within("concurrent calls", wg.Wait) // which reap waits for, too
	return errs
}
