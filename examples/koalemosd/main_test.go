//go:build unix

package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the tests, but is also the program that they start: the guard,
// and the command of tasks.
func TestMain(m *testing.M) {
	// With -race each of these programs would linger for a second at its end.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	switch {
	case len(os.Args) == 2 && os.Args[1] == guardArg:
		os.Exit(guardMain(os.Stdin, os.Stderr))
	case len(os.Args) == 3 && os.Args[1] == workerArg:
		os.Exit(work(os.Args[2]))
	}
	goleak.VerifyTestMain(m)
}
