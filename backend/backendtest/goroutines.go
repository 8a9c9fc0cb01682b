package backendtest

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/metafora-go/metafora"
)

// goroutineGroup finds the goroutines that a Coordinator started. Goroutines
// inherit profiler labels, so that they can be told from those of all other
// checks that run at the same time.
type goroutineGroup struct{ label string }

const groupKey = "backendtest"

// do runs f such that the goroutines it starts belong to the group.
func (g goroutineGroup) do(f func()) {
	pprof.Do(context.Background(), pprof.Labels(groupKey, g.label), func(context.Context) { f() })
}

// left returns the stacks of the group's goroutines that run code of c's
// package, after giving those that are at their very end the time to get there.
// Those of a client library that c shares with others are none of its own.
func (g goroutineGroup) left(c metafora.Coordinator) string {
	pkg := packageOf(c)
	for wait := 5 * time.Millisecond; ; wait *= 2 {
		time.Sleep(wait) // also since one that never ran has no stack yet
		if stacks := g.stacks(pkg); stacks == "" || wait > time.Second {
			return stacks
		}
	}
}

func packageOf(c metafora.Coordinator) string {
	t := reflect.TypeOf(c)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.PkgPath()
}

// stacks returns the stacks that carry the group's label and whose outermost
// function is in pkg. The profile's text form has one paragraph for each, the
// outermost function last.
func (g goroutineGroup) stacks(pkg string) string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return err.Error()
	}
	var found []string
	for stack := range strings.SplitSeq(profile.String(), "\n\n") {
		lines := strings.Split(strings.TrimSpace(stack), "\n")
		outermost := lines[len(lines)-1]
		if strings.Contains(stack, fmt.Sprintf("%q:%q", groupKey, g.label)) && strings.Contains(outermost, "\t"+pkg+".") {
			found = append(found, stack)
		}
	}
	return strings.Join(found, "\n\n")
}
