package simtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// timeline is what happened in a schedule. Its texts are made when somebody
// wants to read them: most schedules hold what they should.
type timeline struct {
	began   time.Time
	step    atomic.Int64
	entries []entry // Sim.mu guards them
}

// entry is one thing that happened. What the scheduler did has a thing or a
// text and comes first in its step; what followed from it comes after.
type entry struct {
	step  int64
	order int // among those of the scheduler, 0 for what followed
	at    time.Duration
	node  string // "" for the broker and its clients
	what  fmt.Stringer
	text  string
	more  int // how often the same follows, the last time at
	until time.Duration
}

func (e *entry) String() string {
	text := e.text
	if e.what != nil {
		text = e.what.String()
		if e.text != "" {
			text += " (" + e.text + ")"
		}
	}
	if e.more > 0 {
		text += fmt.Sprintf(", and %d times more", e.more)
		if e.until > e.at {
			text += fmt.Sprintf(" until %v", e.until.Round(time.Millisecond))
		}
	}
	return text
}

// log adds to the timeline. The scheduler logs the fate of a pending; nodes log
// what they do in consequence.
func (s *Sim) log(node string, what fmt.Stringer, text string) {
	if s.cfg.Coarse {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	tl := &s.timeline
	e := entry{step: tl.step.Load(), at: time.Since(tl.began), node: node, what: what, text: text}
	if what != nil || node == "" {
		e.order = len(tl.entries) + 1
	}
	tl.entries = append(tl.entries, e)
}

// sorted returns the entries in an order that does not depend on which goroutine
// of a node was first. What repeats itself at a node in one step, as in a spin, is there
// once.
func (t *timeline) sorted() []entry {
	type keyed struct {
		entry
		after int // the order of the scheduler's entry that it follows from, or is
		text  string
	}
	list := make([]keyed, len(t.entries))
	after := 0
	for i, e := range t.entries {
		after = max(after, e.order)
		list[i] = keyed{e, after, e.String()}
	}
	slices.SortStableFunc(list, func(a, b keyed) int {
		return cmp.Or(
			cmp.Compare(a.after, b.after),
			cmp.Compare(a.at, b.at),
			cmp.Compare(min(1, b.order), min(1, a.order)),
			strings.Compare(a.node, b.node),
			strings.Compare(a.text, b.text),
		)
	})
	var out []entry
	type place struct {
		index int // of what was there last at a node
		text  string
	}
	last := make(map[string]place)
	for _, k := range list {
		if p, ok := last[k.node]; ok && p.text == k.text && out[p.index].step == k.step {
			out[p.index].more++
			out[p.index].until = k.at
			continue
		}
		last[k.node] = place{len(out), k.text}
		out = append(out, k.entry)
	}
	return out
}

const (
	columnWidth = 34
	brokerName  = "broker"
)

// render draws the timeline with a column for each node and one for the broker
// and its clients.
func (t *timeline) render(nodes []string) string {
	columns := append(slices.Clone(nodes), brokerName)
	var b strings.Builder
	row := func(left string, cells []string) {
		line := fmt.Sprintf("%-15s", left)
		for _, c := range cells {
			line += fmt.Sprintf("| %-*s", columnWidth, c)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	row("step      time", columns)
	for _, e := range t.sorted() {
		col := slices.Index(columns, e.node)
		if col < 0 {
			col = len(columns) - 1
		}
		left := fmt.Sprintf("%4d %9s ", e.step, e.at.Round(time.Millisecond))
		for _, part := range wrap(e.String(), columnWidth-1) {
			cells := make([]string, len(columns))
			cells[col] = part
			row(left, cells)
			left = ""
		}
	}
	return b.String()
}

// wrap breaks a text into lines of at most width letters, at spaces if it can.
func wrap(text string, width int) []string {
	var lines []string
	for runes := []rune(text); ; {
		if len(runes) <= width {
			return append(lines, string(runes))
		}
		cut := width
		for i := width; i > width/2; i-- {
			if runes[i] == ' ' {
				cut = i
				break
			}
		}
		lines = append(lines, string(runes[:cut]))
		runes = runes[cut:]
		for len(runes) > 0 && runes[0] == ' ' {
			runes = runes[1:]
		}
	}
}
