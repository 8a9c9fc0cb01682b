// Mutants shows that the simulations of package simtest find bugs. It breaks the
// module in one way after the other, in files that exist for the build alone (go
// test -overlay), and has the simulation find out.
//
//	go run ./simtest/mutants
//	go run ./simtest/mutants -run 'claim|margin' -v
//
// Each line of the table that it prints is one mutant: which promise was seen
// broken, after how many schedules, and how many steps the schedule had when it was
// shrunk. It exits with 1 when a mutant survives.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

func main() {
	var (
		run    = flag.String("run", "", "only mutants whose names match this `regexp`")
		checks = flag.Int("checks", 20_000, "how many schedules to try at most")
		wall   = flag.Duration("wall", 10*time.Minute, "how long to try at most, building included")
		shrink = flag.Duration("shrink", 10*time.Second, "how long to shrink at most")
		seed   = flag.Uint64("seed", 1, "of the schedules; 0 for another one each time")
		list   = flag.Bool("list", false, "list the mutants and what is wrong with them")
		test   = flag.String("test", "", "which `test` is to find them, such as a script; default: a simulation")
		show   = flag.Bool("v", false, "show the timeline of each kill")
	)
	flag.Parse()
	if err := start(*run, *list, &lab{checks: *checks, wall: *wall, shrink: *shrink, seed: *seed, test: *test, verbose: *show}); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func start(run string, list bool, l *lab) error {
	wanted, err := regexp.Compile(run)
	if err != nil {
		return err
	}
	if l.root, err = moduleRoot(); err != nil {
		return err
	}
	if l.dir, err = os.MkdirTemp("", "mutants"); err != nil {
		return err
	}
	defer os.RemoveAll(l.dir)
	if !list {
		fmt.Printf("| mutant | in | seen as broken | schedules | steps |\n|---|---|---|---:|---:|\n")
	}
	var alive []string
	for _, m := range mutants {
		switch {
		case !wanted.MatchString(m.name):
			continue
		case list:
			fmt.Printf("%-26s %s\n", m.name, m.why)
			continue
		}
		fmt.Printf("| %s | %s | ", m.name, m.file)
		r, err := l.try(m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if !r.killed {
			alive = append(alive, m.name)
		}
		fmt.Printf("%s | %d | %d |\n", r.broken, r.tried, r.steps)
		if l.verbose {
			fmt.Printf("\n%s\n", r.output)
		}
	}
	if len(alive) > 0 {
		return fmt.Errorf("survivors: %s", strings.Join(alive, ", "))
	}
	return nil
}

func moduleRoot() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	return strings.TrimSpace(string(out)), err
}

// lab is where mutants are tried.
type lab struct {
	root, dir    string
	checks       int
	wall, shrink time.Duration
	seed         uint64
	test         string // in place of the mutant's own
	verbose      bool
	sound        int // so many schedules hold without a mutant
}

type result struct {
	killed bool
	broken string // the invariant
	tried  int    // schedules, 0 if nobody knows
	steps  int    // of the shrunk schedule
	output string // of the simulation
}

// patience is what a simulation leaves of its time, and more.
const patience = 6 * time.Second

// mutate writes the overlay of a mutant, and returns its name.
func (l *lab) mutate(m mutant) (overlay string, err error) {
	path := filepath.Join(l.root, filepath.FromSlash(m.file))
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	mutated, err := m.apply(string(text))
	if err != nil {
		return "", err
	}
	file := filepath.Join(l.dir, m.name+".go")
	overlay = filepath.Join(l.dir, m.name+".json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: file}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(file, []byte(mutated), 0o600); err != nil {
		return "", err
	}
	return overlay, os.WriteFile(overlay, replace, 0o600)
}

// apply makes the edits, each of which must fit in one place.
func (m mutant) apply(text string) (string, error) {
	for _, e := range m.edits {
		if n := strings.Count(text, e.old); n != 1 {
			return "", fmt.Errorf("%s has %d places like this, want one:\n%s", m.file, n, e.old)
		}
		text = strings.Replace(text, e.old, e.new, 1)
	}
	return text, nil
}

// try builds the simulation with a mutant in it, and runs it.
func (l *lab) try(m mutant) (result, error) {
	r, err := l.simulate(m, l.checks)
	if err != nil || !r.killed || r.tried <= l.sound {
		return r, err
	}
	// What breaks without the mutant as well says nothing about it.
	control, err := l.simulate(mutant{name: "control", file: m.file, test: m.test}, r.tried)
	switch {
	case err != nil:
	case control.killed:
		r = result{tried: r.tried, broken: "SURVIVED, for without it " + control.broken + " is broken as well"}
	default:
		l.sound = r.tried
	}
	return r, err
}

func (l *lab) simulate(m mutant, checks int) (result, error) {
	m.test = cmp.Or(l.test, m.test)
	overlay, err := l.mutate(m)
	if err != nil {
		return result{}, err
	}
	end := time.Now().Add(l.wall)
	ctx, cancel := context.WithDeadline(context.Background(), end.Add(2*patience))
	defer cancel()
	binary := filepath.Join(l.dir, m.name+".test")
	defer os.Remove(binary)
	build := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", binary, "./simtest")
	build.Dir = l.root
	if out, err := build.CombinedOutput(); err != nil {
		return result{}, fmt.Errorf("build: %w\n%s", err, out)
	}
	sim := exec.CommandContext(ctx, binary, "-test.v", "-test.run", "^"+m.workload()+"$",
		"-rapid.nofailfile",
		"-rapid.checks", strconv.Itoa(checks),
		"-rapid.seed", strconv.FormatUint(l.seed, 10),
		"-rapid.shrinktime", l.shrink.String(),
		// The simulation ends in time by itself. A schedule that hangs does not.
		"-test.timeout", (max(time.Until(end), 0) + patience).String())
	sim.Dir = l.dir
	out, err := sim.CombinedOutput()
	r := judge(string(out), err)
	r.output = string(out)
	if !r.killed && r.tried < checks {
		r.broken += fmt.Sprintf(" %v", l.wall)
	}
	return r, nil
}

var (
	failure = regexp.MustCompile(`\[rapid\] (?:failed|panic) after (\d+) tests: (.*)`)
	passed  = regexp.MustCompile(`(?m)^ +\w+\.go:\d+: (\d+) schedules, `)
	crashed = regexp.MustCompile(`(?m)^(panic: .*|fatal error: .*|\s+testing\.go:\d+: .*)$`)
	script  = regexp.MustCompile(`(?m)^\s+script_\w+_test\.go:\d+: ([^:]*): `)
	step    = regexp.MustCompile(`(?m)^ *(?:\S+: )?(\d+) +\S+s +\|`)
)

// judge reads what the simulation has to say.
func judge(out string, err error) result {
	if f := failure.FindStringSubmatch(out); f != nil {
		last := 0
		for _, s := range step.FindAllStringSubmatch(out, -1) {
			n, _ := strconv.Atoi(s[1])
			last = max(last, n)
		}
		n, _ := strconv.Atoi(f[1])
		broken, _, _ := strings.Cut(f[2], ":")
		return result{killed: true, broken: broken, tried: n + 1, steps: last}
	}
	if s := script.FindStringSubmatch(out); s != nil {
		return result{killed: true, broken: s[1], tried: 1}
	}
	if c := crashed.FindString(out); c != "" {
		return result{killed: true, broken: "it breaks down: " + strings.TrimSpace(c)}
	}
	if p := passed.FindStringSubmatch(out); p != nil && err == nil {
		n, _ := strconv.Atoi(p[1])
		return result{broken: "SURVIVED", tried: n}
	}
	return result{broken: fmt.Sprintf("SURVIVED: %v", err)}
}
