package inspect

import (
	"fmt"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// The parameters of a request.
const (
	paramTask    = "task"
	paramPrefix  = "prefix"
	paramState   = "state"
	paramReason  = "reason"
	paramLimit   = "limit"
	paramAfter   = "after"
	paramRefresh = "refresh"
)

const (
	defaultRefresh = 5 * time.Second
	maxRefresh     = time.Hour
)

// query is what a request asks for; the zero value is everything.
type query struct {
	task    string
	prefix  string
	state   statemachine.StateCode
	reason  metafora.DeferReason
	limit   int // 0 for none
	after   string
	refresh time.Duration // 0 for never
}

// parseQuery returns an error that names what it does not understand, rather
// than show everything to somebody who asked for something.
func parseQuery(raw string, allowed ...string) (query, error) {
	q := query{refresh: defaultRefresh}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, fmt.Errorf("query: %w", err)
	}
	for name, v := range values {
		switch {
		case !slices.Contains(allowed, name):
			return q, fmt.Errorf("unknown parameter %q", name)
		case len(v) > 1:
			return q, fmt.Errorf("parameter %q is given %d times", name, len(v))
		}
		if err := q.set(name, v[0]); err != nil {
			return q, err
		}
	}
	return q, nil
}

// set takes a parameter over. An empty one, as an empty field of a form sends it,
// counts as not given.
func (q *query) set(name, value string) error {
	if value == "" {
		return nil
	}
	switch name {
	case paramTask:
		q.task = value
	case paramPrefix:
		q.prefix = value
	case paramAfter:
		q.after = value
	case paramState:
		q.state = statemachine.StateCode(value)
		return oneOf(name, q.state, states())
	case paramReason:
		q.reason = metafora.DeferReason(value)
		return oneOf(name, q.reason, reasons())
	case paramLimit:
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return fmt.Errorf("parameter %q: want a number from 1, not %q", name, value)
		}
		q.limit = n
	case paramRefresh:
		n, err := strconv.Atoi(value)
		if most := int(maxRefresh / time.Second); err != nil || n < 0 || n > most {
			return fmt.Errorf("parameter %q: want a number of seconds from 0 to %d, not %q", name, most, value)
		}
		q.refresh = time.Duration(n) * time.Second
	}
	return nil
}

func oneOf[S ~string](name string, value S, valid []S) error {
	if slices.Contains(valid, value) {
		return nil
	}
	return fmt.Errorf("parameter %q: want one of %q, not %q", name, valid, string(value))
}

// states returns the states that a task on a node can be in.
func states() []statemachine.StateCode {
	var codes []statemachine.StateCode
	for _, r := range statemachine.Rules() {
		for _, c := range []statemachine.StateCode{r.From, r.To} {
			if !slices.Contains(codes, c) {
				codes = append(codes, c)
			}
		}
	}
	return codes
}

func reasons() []metafora.DeferReason {
	return []metafora.DeferReason{
		metafora.DeferredByBalancer,
		metafora.DeferredByError,
		metafora.DeferredByRelease,
		metafora.DeferredByRun,
	}
}

// selectTasks calls emit for the tasks of the page that q asks for, in their
// order. all must be sorted by ID.
func selectTasks(all []metafora.RunningTask, q query, emit func(Task) error) (Rest, error) {
	return selectFrom(all, q, metafora.RunningTask.ID, func(r metafora.RunningTask) (Task, bool) {
		t := taskOf(r, q.task != "")
		return t, q.state == "" || t.State == q.state
	}, emit)
}

// selectDeferred does for deferred tasks what selectTasks does for running ones.
func selectDeferred(all []metafora.Deferred, q query, emit func(DeferredTask) error) (Rest, error) {
	id := func(d metafora.Deferred) string { return d.ID }
	return selectFrom(all, q, id, func(d metafora.Deferred) (DeferredTask, bool) {
		return deferredOf(d), q.reason == "" || d.Reason == q.reason
	}, emit)
}

func selectFrom[S, T any](all []S, q query, id func(S) string, match func(S) (T, bool), emit func(T) error) (Rest, error) {
	var rest Rest
	emitted, last := 0, ""
	for _, s := range narrow(q, all, id) {
		t, ok := match(s)
		if !ok {
			continue
		}
		rest.Total++
		switch {
		case id(s) <= q.after:
		case q.limit > 0 && emitted == q.limit:
			rest.Next = last
		default:
			if err := emit(t); err != nil {
				return rest, err
			}
			emitted, last = emitted+1, id(s)
		}
	}
	return rest, nil
}

// narrow returns the part of all, which is sorted by ID, that can hold what q
// asks for by ID or prefix.
func narrow[S any](q query, all []S, id func(S) string) []S {
	from := func(text string) int {
		return sort.Search(len(all), func(i int) bool { return id(all[i]) >= text })
	}
	if q.task != "" {
		i := from(q.task)
		if i == len(all) || id(all[i]) != q.task || !strings.HasPrefix(q.task, q.prefix) {
			return nil
		}
		return all[i : i+1]
	}
	all = all[from(q.prefix):]
	end := sort.Search(len(all), func(i int) bool { return !strings.HasPrefix(id(all[i]), q.prefix) })
	return all[:end]
}
