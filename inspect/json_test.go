package inspect

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// sample is a node with something of everything, on the clock of a bubble, which
// begins with the year 2000.
func sample() *fakeNode {
	now := time.Now().In(time.FixedZone("elsewhere", 3600))
	sleeping := statemachine.State{
		Code:  statemachine.Sleeping,
		Since: now.Add(-time.Minute),
		Until: now.Add(time.Hour),
		Errors: []statemachine.TaskError{
			{Time: now.Add(-time.Hour).UTC(), Error: "first"},
			{Time: now.Add(-time.Minute).UTC(), Error: `no "<space>" left`},
		},
	}
	lost := running("c/<script>", plainHandler{})
	lost.Stopped, lost.Lost = now.Add(time.Second), now.Add(2*time.Second)
	return &fakeNode{
		name:    "node-1",
		started: now.Add(-24 * time.Hour),
		frozen:  true,
		counts:  metafora.Counts{Running: 3, Settling: 4, Claiming: 5, Deferred: 2},
		tasks: []metafora.RunningTask{
			running("a", fakeMachine{state: sleeping}),
			running("b", fakeMachine{}), // not loaded yet
			lost,
		},
		ignores: []metafora.Deferred{
			{ID: "d", Until: now.Add(time.Second), Reason: metafora.DeferredByBalancer},
			{ID: "e", Until: now.AddDate(20000, 0, 0), Reason: metafora.DeferredByError},
		},
	}
}

const (
	goldenNode = `{"name":"node-1","time":"2000-01-01T00:00:00Z","started":"1999-12-31T00:00:00Z","frozen":true,"draining":false,"running":3,"settling":4,"claiming":5,"deferred":2}
`
	goldenTasks = `{"node":"node-1","tasks":[
{"id":"a","fence":7,"started":"2000-01-01T00:00:00Z","state":"sleeping","since":"1999-12-31T23:59:00Z","until":"2000-01-01T01:00:00Z","error":"no \"\u003cspace\u003e\" left"},
{"id":"b","fence":7,"started":"2000-01-01T00:00:00Z"},
{"id":"c/\u003cscript\u003e","fence":7,"started":"2000-01-01T00:00:00Z","stopped":"2000-01-01T00:00:01Z","lost":"2000-01-01T00:00:02Z"}
],"total":3}
`
	goldenTask = `{"node":"node-1","tasks":[
{"id":"a","fence":7,"started":"2000-01-01T00:00:00Z","state":"sleeping","since":"1999-12-31T23:59:00Z","until":"2000-01-01T01:00:00Z","error":"no \"\u003cspace\u003e\" left","errors":[{"time":"1999-12-31T23:00:00Z","error":"first"},{"time":"1999-12-31T23:59:00Z","error":"no \"\u003cspace\u003e\" left"}]}
],"total":1}
`
	goldenDeferred = `{"node":"node-1","deferred":[
{"id":"d","until":"2000-01-01T00:00:01Z","reason":"balancer"},
{"id":"e","until":"9999-12-31T23:59:59Z","reason":"error"}
],"total":2}
`
)

func TestAnswersAreStable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := sample()
		for target, want := range map[string]string{
			"/node":           goldenNode,
			"/tasks":          goldenTasks,
			"/tasks?task=a":   goldenTask,
			"/tasks?limit=1":  "{\"node\":\"node-1\",\"tasks\":[\n{\"id\":\"a\"" + goldenTasks[len("{\"node\":\"node-1\",\"tasks\":[\n{\"id\":\"a\""):bytes.Index([]byte(goldenTasks), []byte(",\n"))] + "\n],\"total\":3,\"next\":\"a\"}\n",
			"/tasks?task=x":   "{\"node\":\"node-1\",\"tasks\":[\n],\"total\":0}\n",
			"/deferred":       goldenDeferred,
			"/deferred?task=": goldenDeferred,
		} {
			rec := get(t, n, target)
			if got := rec.Body.String(); rec.Code != http.StatusOK || got != want {
				t.Errorf("%s: %d\n%s\nwant\n%s", target, rec.Code, got, want)
			}
			if got := rec.Header().Get("Content-Type"); got != "application/json" {
				t.Errorf("%s: content type %q", target, got)
			}
		}
	})
}

// Clients decode answers into the types that are documented for them.
func TestAnswersDecodeIntoTheirTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := sample()
		for target, v := range map[string]any{
			"/node": &Node{}, "/tasks": &Tasks{}, "/tasks?task=a": &Tasks{}, "/deferred": &DeferredTasks{}, "/nowhere": &Error{},
		} {
			body := get(t, n, target).Body.Bytes()
			dec := json.NewDecoder(bytes.NewReader(body))
			dec.DisallowUnknownFields()
			if err := dec.Decode(v); err != nil {
				t.Errorf("%s: %v", target, err)
			}
			if reflect.ValueOf(v).Elem().IsZero() {
				t.Errorf("%s decodes into nothing", target)
			}
			again, err := json.Marshal(v)
			var compact bytes.Buffer
			if err != nil || json.Compact(&compact, body) != nil || !bytes.Equal(again, compact.Bytes()) {
				t.Errorf("%s: decoded and encoded again: %v\n%s\nwas\n%s", target, err, again, compact.Bytes())
			}
		}
	})
}

// A writer that keeps nothing and knows the largest piece it was given.
type pieces struct {
	http.ResponseWriter
	largest int
	written int
	lines   int
	most    int // fails beyond, 0 for never
}

func (p *pieces) Write(b []byte) (int, error) {
	if p.most > 0 && p.written+len(b) > p.most {
		return 0, errors.New("connection reset")
	}
	p.largest = max(p.largest, len(b))
	p.written += len(b)
	p.lines += bytes.Count(b, []byte("\n"))
	return len(b), nil
}

func TestLongListsAreStreamed(t *testing.T) {
	const count = 20_000
	n := &fakeNode{name: "node-1", tasks: manyTasks(count, nil)}
	w := &pieces{ResponseWriter: httptest.NewRecorder()}
	newHandler(n).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/tasks", nil))
	if w.written < count*50 || w.largest > 64<<10 || w.lines != count+2 {
		t.Errorf("%d lines, %d bytes, were written in pieces of up to %d", w.lines, w.written, w.largest)
	}
}

func TestNothingIsDoneForAClientThatHasGone(t *testing.T) {
	var looked atomic.Int64
	n := &fakeNode{tasks: manyTasks(20_000, &looked)}
	w := &pieces{ResponseWriter: httptest.NewRecorder(), most: 100 << 10}
	newHandler(n).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/tasks", nil))
	if got := looked.Load(); got > 5_000 {
		t.Errorf("%d tasks were looked at", got)
	}
	looked.Store(0)
	newHandler(n).ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodHead, "/tasks", nil))
	if got := looked.Load(); got > 0 {
		t.Errorf("%d tasks were looked at for a HEAD request", got)
	}
}

func TestATaskAskedForByIDCostsNoOther(t *testing.T) {
	var looked atomic.Int64
	n := &fakeNode{tasks: manyTasks(1000, &looked)}
	get(t, n, "/tasks?task=task-000500")
	if got := looked.Load(); got != 1 || n.listed > 0 {
		t.Errorf("%d tasks were looked at, all were listed %d times", got, n.listed)
	}
}
