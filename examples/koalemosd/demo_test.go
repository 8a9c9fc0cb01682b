//go:build unix

package main

import (
	"io"
	"strings"
	"testing"

	"github.com/metafora-go/metafora/backend/memory"
)

func TestDemoEndsWithANodeThatCannotRun(t *testing.T) {
	d := &demo{client: memory.NewBroker().Client(), output: t.TempDir(), out: io.Discard, program: "false"}
	if err := d.run(t.Context()); err == nil || !strings.Contains(err.Error(), "has ended, see "+d.output) {
		t.Errorf("the error does not name a node: %v", err)
	}
}
