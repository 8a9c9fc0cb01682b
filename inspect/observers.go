package inspect

import (
	"time"

	"github.com/metafora-go/metafora"
)

// Observers returns an Observer that passes everything on to each of list, in
// that order, but those that are nil.
func Observers(list ...metafora.Observer) metafora.Observer {
	var o observers
	for _, next := range list {
		if next != nil {
			o = append(o, next)
		}
	}
	return o
}

// observers embeds no [metafora.NopObserver]: what is added to the interface must
// be passed on, too.
type observers []metafora.Observer

// Refused implements [metafora.Observer].
func (o observers) Refused(t metafora.Task, until time.Time) {
	for _, next := range o {
		next.Refused(t, until)
	}
}

// Claimed implements [metafora.Observer].
func (o observers) Claimed(t metafora.Task, result metafora.ClaimResult, took time.Duration) {
	for _, next := range o {
		next.Claimed(t, result, took)
	}
}

// Running implements [metafora.Observer].
func (o observers) Running(c metafora.Claim, sinceAnnounced time.Duration) {
	for _, next := range o {
		next.Running(c, sinceAnnounced)
	}
}

// Returned implements [metafora.Observer].
func (o observers) Returned(c metafora.Claim, done bool, ran time.Duration) {
	for _, next := range o {
		next.Returned(c, done, ran)
	}
}

// Panicked implements [metafora.Observer].
func (o observers) Panicked(c metafora.Claim, value any, stack []byte) {
	for _, next := range o {
		next.Panicked(c, value, stack)
	}
}

// Lost implements [metafora.Observer].
func (o observers) Lost(c metafora.Claim, cause error) {
	for _, next := range o {
		next.Lost(c, cause)
	}
}

// Done implements [metafora.Observer].
func (o observers) Done(c metafora.Claim) {
	for _, next := range o {
		next.Done(c)
	}
}

// Released implements [metafora.Observer].
func (o observers) Released(c metafora.Claim) {
	for _, next := range o {
		next.Released(c)
	}
}

// Balanced implements [metafora.Observer].
func (o observers) Balanced(stopped int) {
	for _, next := range o {
		next.Balanced(stopped)
	}
}
