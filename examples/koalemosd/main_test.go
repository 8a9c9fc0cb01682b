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
	switch {
	case len(os.Args) == 2 && os.Args[1] == guardArg:
		os.Exit(guardMain(os.Stdin, os.Stderr))
	case len(os.Args) == 3 && os.Args[1] == workerArg:
		os.Exit(work(os.Args[2]))
	}
	goleak.VerifyTestMain(m)
}
