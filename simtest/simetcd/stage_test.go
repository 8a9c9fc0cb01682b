package simetcd_test

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/metafora-go/metafora/simtest/simetcd"
)

// stage is a gate that holds every call until the test decides about it.
type stage struct {
	mu    sync.Mutex // guards calls
	calls []*held
}

type held struct {
	*simetcd.Call
	verdict chan error
}

func (s *stage) gate(ctx context.Context, c *simetcd.Call) error {
	h := &held{c, make(chan error, 1)}
	s.mu.Lock()
	s.calls = append(s.calls, h)
	s.mu.Unlock()
	select {
	case err := <-h.verdict:
		return err
	case <-ctx.Done():
		s.drop(h)
		return ctx.Err()
	case <-c.Closed():
		s.drop(h)
		return simetcd.ErrClosing
	}
}

func (s *stage) drop(h *held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.calls, h); i >= 0 {
		s.calls = slices.Delete(s.calls, i, i+1)
	}
}

// waiting returns the calls that are held, in the order of their keys.
func (s *stage) waiting() []*held {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortStableFunc(s.calls, func(a, b *held) int { return strings.Compare(a.Key(), b.Key()) })
	return slices.Clone(s.calls)
}

// release decides about a call: nil lets it through.
func (s *stage) release(h *held, err error) {
	s.drop(h)
	h.verdict <- err
}
