package simtest

import (
	_ "embed"
	"flag"
	"fmt"
	"html/template"
	"os"
	"slices"
	"time"
)

var htmlFlag = flag.String("simtest.html", "", "simtest: write the timeline of a failure to this `file`, as a page")

//go:embed timeline.gohtml
var pageSource string

// page is what timeline.gohtml shows.
type page struct {
	Test, Invariant, Details, Replay string
	Columns                          []string
	Rows                             []pageRow
}

type pageRow struct {
	Step  int64
	First bool // of its step
	At    time.Duration
	// Column is that of Text.
	Column int
	Text   string
	Fault  bool
}

// writePage writes a failure as a page to where -simtest.html says, if it does.
func (s *Sim) writePage(test string, v *violation) error {
	if *htmlFlag == "" {
		return nil
	}
	p := page{
		Test: test, Invariant: v.invariant, Details: v.details, Replay: replayCommand(test),
		Columns: append(s.nodeNames(), brokerName),
	}
	s.mu.Lock()
	entries := s.timeline.sorted()
	s.mu.Unlock()
	last := int64(-1)
	for _, e := range entries {
		column := slices.Index(p.Columns, e.node)
		if column < 0 {
			column = len(p.Columns) - 1
		}
		p.Rows = append(p.Rows, pageRow{
			Step: e.step, First: e.step != last, At: e.at.Round(time.Millisecond),
			Column: column, Text: e.String(), Fault: e.what != nil && e.text != "",
		})
		last = e.step
	}
	tmpl, err := template.New("timeline").Funcs(template.FuncMap{
		"until": func(n int) []struct{} { return make([]struct{}, n) },
		"after": func(columns []string, n int) []struct{} { return make([]struct{}, len(columns)-n-1) },
	}).Parse(pageSource)
	if err != nil {
		return fmt.Errorf("simtest: page: %w", err)
	}
	f, err := os.Create(*htmlFlag)
	if err != nil {
		return fmt.Errorf("simtest: page: %w", err)
	}
	if err := tmpl.Execute(f, p); err != nil {
		_ = f.Close()
		return fmt.Errorf("simtest: page: %w", err)
	}
	return f.Close()
}

// replayCommand is how to run a schedule that failed again. Its file is tried
// before any other schedule.
func replayCommand(test string) string {
	return fmt.Sprintf("go test -count=1 -run '^%s$'", test)
}
