package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The children that scenarios start are this very program, which is a test here.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		exitOn(play(role))
		return
	}
	os.Exit(m.Run())
}

func TestScenariosMeasureOnTinyNumbers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts several etcd servers")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	o := options{Tasks: 100, Idle: 100, Runs: 1, Only: []string{"submit", "trickle"}, JSON: true}
	var out bytes.Buffer
	if err := measure(ctx, o, newReport(&out, o)); err != nil {
		t.Fatal(err)
	}
	var d document
	if err := json.Unmarshal(out.Bytes(), &d); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	figures := d.Figures
	for _, f := range []func(ctx context.Context, s *server, raw float64) ([]figure, error){
		func(ctx context.Context, s *server, raw float64) ([]figure, error) {
			return massStartOf(ctx, s, raw, 3, 100)
		},
		func(ctx context.Context, s *server, _ float64) ([]figure, error) {
			return failoverBy(ctx, s, syscall.SIGTERM, 100)
		},
	} {
		run, err := onServer(ctx, o, f)
		if err != nil {
			t.Fatal(err)
		}
		figures = append(figures, summarise("tiny", [][]figure{run})...)
	}
	want := map[string]bool{
		"SubmitTasks": true, "Done": true, "proposals by 16, submission apart": true, "submission to handler": true,
		"claimed by 3": true, "claims sent by 3": true, "all of 100 run elsewhere after terminated": true,
	}
	for _, f := range figures {
		if want[f.Figure] && f.Median <= 0 {
			t.Errorf("%s: %v", f.Figure, f.Median)
		}
		delete(want, f.Figure)
		if strings.HasSuffix(f.Unit, "/s") && f.Ratio <= 0 {
			t.Errorf("%s has no raw limit beside it", f.Figure)
		}
	}
	if len(want) > 0 {
		t.Errorf("no figure for %v", want)
	}
}

// Of two tasks, one moves before the other runs.
func TestATaskThatMovesIsOneTask(t *testing.T) {
	r := newRunning(2)
	first, second := tasks(2)[0], tasks(2)[1]
	r.enter(first)
	r.enter(first)
	select {
	case <-r.reached:
		t.Error("one task of two is all of them")
	default:
	}
	r.enter(second)
	select {
	case <-r.reached:
	default:
		t.Error("both tasks are not all of them")
	}
	if r.starts.Load() != 3 {
		t.Errorf("%d handlers were started, want 3", r.starts.Load())
	}
}

func TestMediansOfRuns(t *testing.T) {
	runs := [][]figure{
		{{"rate", "tasks/s", ">= 1", 10, 100}},
		{{"rate", "tasks/s", ">= 1", 60, 200}},
		{{"rate", "tasks/s", ">= 1", 20, 50}},
	}
	s := summarise("x", runs)[0]
	if s.Median != 20 || s.Raw != 100 || s.Ratio != 0.3 {
		t.Errorf("median %v, raw %v, ratio %v", s.Median, s.Raw, s.Ratio)
	}
	if m := median([]float64{4, 1, 3, 2}); m != 2.5 {
		t.Errorf("median of four: %v", m)
	}
}

func TestTableHasOneLineForEachFigure(t *testing.T) {
	var out bytes.Buffer
	r := newReport(&out, options{})
	err := r.add(summarise("x", [][]figure{{{"rate", "tasks/s", ">= 1", 1234.5, 2469}, {"memory", "bytes", "", 0.5, 0}}}))
	if err != nil || r.end() != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"scenario figure median unit target raw etcd ratio least most",
		"x rate 1234 tasks/s >= 1 2469 0.50 1234 1234",
		"x memory 0.5 bytes 0.5 0.5",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("printed %q, want %q", got, want)
	}
}

func TestSenselessOptionsAreRefused(t *testing.T) {
	good := options{Tasks: 1, Idle: 1, Runs: 1}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, o := range []options{
		{Idle: 1, Runs: 1},
		{Tasks: 1, Idle: 1, Runs: -1},
		{Tasks: 1, Idle: 1, Runs: 1, Only: []string{"masstart"}},
	} {
		if err := o.Validate(); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}
