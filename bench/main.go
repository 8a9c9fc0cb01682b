// Command bench measures the library against one etcd server in a process of its
// own, over loopback, with fsync as it is. Each figure comes with its target and,
// where it is a rate of writes, with what the same etcd did in the same run for
// grouped claims without the library. README.md explains the figures.
//
//	go run ./bench                        # everything
//	go run ./bench --only=massstart       # one scenario
//	go run ./bench --json > figures.json  # for programs
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

type options struct {
	Tasks int      `default:"10000" help:"Tasks of a scenario."`
	Idle  int      `default:"100000" help:"Tasks of the scenarios about idle tasks."`
	Runs  int      `default:"3" help:"Runs of each scenario; the median counts."`
	Only  []string `help:"Scenarios to run: ${scenarios}."`
	JSON  bool     `name:"json" help:"Print JSON instead of a table."`
}

// Validate is called by kong.
func (o options) Validate() error {
	if o.Tasks < 1 || o.Idle < 1 || o.Runs < 1 {
		return errors.New("--tasks, --idle and --runs must be at least 1")
	}
	names := scenarioNames()
	for _, name := range o.Only {
		if !slices.Contains(names, name) {
			return fmt.Errorf("no scenario %q, there are: %s", name, strings.Join(names, ", "))
		}
	}
	return nil
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

func scenarioNames() []string {
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name)
	}
	return names
}

func main() {
	if role := os.Getenv(roleVariable); role != "" {
		exitOn(play(role))
		return
	}
	var o options
	kong.Parse(&o, kong.Name("bench"), kong.Description("Measures metafora on one etcd."),
		kong.Vars{"scenarios": strings.Join(scenarioNames(), ", ")})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	exitOn(measure(ctx, o, newReport(os.Stdout, o)))
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, o options, r report) error {
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
		if err := r.add(summarise(s.name, runs)); err != nil {
			return err
		}
	}
	return r.end()
}

// perSecond is the rate of n things since a time.
func perSecond(n int, since time.Time) float64 { return float64(n) / time.Since(since).Seconds() }
