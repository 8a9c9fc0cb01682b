package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
)

// figure is one measured value.
type figure struct {
	name   string
	unit   string
	target string
	value  float64
	raw    float64 // the same etcd without the library, 0 where that has no meaning
}

// summary is a figure of several runs.
type summary struct {
	Scenario string    `json:"scenario"`
	Figure   string    `json:"figure"`
	Unit     string    `json:"unit,omitempty"`
	Target   string    `json:"target,omitempty"`
	Median   float64   `json:"median"`
	Values   []float64 `json:"values"` // one for each run
	Raw      float64   `json:"raw_median,omitempty"`
	Raws     []float64 `json:"raw_values,omitempty"`
	Ratio    float64   `json:"ratio,omitempty"`
}

// summarise makes one of the figures of all runs. The ratio is the median of the
// ratios of the runs: each had an etcd of its own.
func summarise(scenario string, runs [][]figure) []summary {
	var all []summary
	for i, f := range runs[0] {
		s := summary{Scenario: scenario, Figure: f.name, Unit: f.unit, Target: f.target}
		var ratios []float64
		for _, r := range runs {
			s.Values = append(s.Values, r[i].value)
			if r[i].raw > 0 {
				s.Raws = append(s.Raws, r[i].raw)
				ratios = append(ratios, r[i].value/r[i].raw)
			}
		}
		s.Median, s.Raw, s.Ratio = median(s.Values), median(s.Raws), median(ratios)
		all = append(all, s)
	}
	return all
}

// median returns 0 for no values.
func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// report is where summaries are printed.
type report interface {
	add([]summary) error
	end() error
}

func newReport(out io.Writer, o options) report {
	if o.JSON {
		return &document{out: out, OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version(), CPUs: runtime.NumCPU(), Tasks: o.Tasks, Idle: o.Idle, Runs: o.Runs}
	}
	t := &table{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	fmt.Fprintln(t.out, "scenario\tfigure\tmedian\tunit\ttarget\traw etcd\tratio\tleast\tmost")
	return t
}

// table is for people. It is printed as it grows.
type table struct{ out *tabwriter.Writer }

func (t *table) add(all []summary) error {
	for _, s := range all {
		raw, ratio := "", ""
		if s.Raw > 0 {
			raw, ratio = number(s.Raw), fmt.Sprintf("%.2f", s.Ratio)
		}
		fmt.Fprintf(t.out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Scenario, s.Figure, number(s.Median), s.Unit, s.Target,
			raw, ratio, number(slices.Min(s.Values)), number(slices.Max(s.Values)))
	}
	return t.out.Flush()
}

func (t *table) end() error { return t.out.Flush() }

func number(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.4g", v)
}

// document is for programs, and says where it was made.
type document struct {
	out     io.Writer
	OS      string    `json:"os"`
	Arch    string    `json:"arch"`
	Go      string    `json:"go"`
	CPUs    int       `json:"cpus"`
	Tasks   int       `json:"tasks"`
	Idle    int       `json:"idle"`
	Runs    int       `json:"runs"`
	Figures []summary `json:"figures"`
}

func (d *document) add(all []summary) error {
	d.Figures = append(d.Figures, all...)
	return nil
}

func (d *document) end() error {
	e := json.NewEncoder(d.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(d)
}
