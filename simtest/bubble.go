package simtest

import (
	"testing"
	"testing/synctest"
)

// inBubble runs f in a bubble of fake time. A panic of f ends the bubble and
// goes on outside it, always from the same line: rapid unwinds by panicking, and
// takes failures for the same only where their stacks are.
func inBubble(t *testing.T, f func()) {
	var p any
	synctest.Test(t, func(*testing.T) {
		defer func() { p = recover() }()
		f()
	})
	if p != nil {
		panic(p)
	}
}
