// Command bench measures the library against one etcd server in a process of its
// own, over loopback, with fsync as it is. Each figure comes with its target and,
// where it is a rate of writes, with what the same etcd did in the same run for
// grouped writes without the library.
//
//	go run ./bench                     # everything
//	go run ./bench --only massstart    # one scenario
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"
)

type options struct {
	Tasks int      `default:"10000" help:"Tasks of a scenario."`
	Idle  int      `default:"100000" help:"Tasks of the scenarios about idle tasks."`
	Runs  int      `default:"3" help:"Runs of each scenario; the median counts."`
	Only  []string `help:"Scenarios to run: ${scenarios}."`
}

// figure is one measured value.
type figure struct {
	name   string
	unit   string
	target string
	value  float64
	raw    float64 // the same etcd without the library, 0 where that has no meaning
}

type scenario struct {
	name string
	run  func(ctx context.Context, o options) ([]figure, error)
}

func scenarios() []scenario {
	return []scenario{
		{"submit", submitAndDone},
		{"massstart", massStart},
		{"trickle", trickle},
		{"idle", idle},
		{"failover", failover},
		{"stateful", stateful},
	}
}

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		exitOn(play(role))
		return
	}
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	var o options
	kong.Parse(&o, kong.Name("bench"), kong.Description("Measures metafora on one etcd."),
		kong.Vars{"scenarios": strings.Join(names, ", ")})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	exitOn(measure(ctx, o))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, o options) error {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "scenario\tfigure\tmedian\tunit\ttarget\traw etcd\tratio\truns")
	for _, s := range scenarios() {
		if len(o.Only) > 0 && !slices.Contains(o.Only, s.name) {
			continue
		}
		var runs [][]figure
		for range o.Runs {
			figures, err := s.run(ctx, o)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			runs = append(runs, figures)
		}
		for i, f := range runs[0] {
			values := make([]float64, len(runs))
			raws := make([]float64, len(runs))
			for j, r := range runs {
				values[j], raws[j] = r[i].value, r[i].raw
			}
			raw, ratio := "", ""
			if r := median(raws); r > 0 {
				raw, ratio = number(r), fmt.Sprintf("%.2f", median(values)/r)
			}
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", s.name, f.name, number(median(values)), f.unit, f.target, raw, ratio, len(runs))
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if len(s) == 0 {
		return 0
	}
	return s[len(s)/2]
}

func number(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.4g", v)
}

// perSecond is the rate of n things since a time.
func perSecond(n int, since time.Time) float64 { return float64(n) / time.Since(since).Seconds() }
