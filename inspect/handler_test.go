package inspect

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

func TestWhatCannotBeServedIsRefused(t *testing.T) {
	n := &fakeNode{name: "node-1"}
	for _, tc := range []struct {
		method, target string
		status         int
		message        string // a part of it
	}{
		{"GET", "/nowhere", 404, `"/nowhere"`},
		{"POST", "/nowhere", 404, `"/nowhere"`},
		{"GET", "/tasks/", 404, `"/tasks/"`},
		{"POST", "/tasks", 405, "POST"},
		{"DELETE", "/", 405, "DELETE"},
		{"PUT", "/node", 405, "PUT"},
		{"GET", "/node?task=a", 400, `unknown parameter "task"`},
		{"GET", "/tasks?reason=run", 400, `unknown parameter "reason"`},
		{"GET", "/tasks?Task=a", 400, `unknown parameter "Task"`},
		{"GET", "/tasks?task=a&task=b", 400, `"task" is given 2 times`},
		{"GET", "/tasks?task=%zz", 400, `%zz`},
		{"GET", "/tasks?a;b", 400, `semicolon`},
		{"GET", "/tasks?limit=0", 400, `"0"`},
		{"GET", "/tasks?limit=-1", 400, `"-1"`},
		{"GET", "/tasks?limit=many", 400, `"many"`},
		{"GET", "/tasks?limit=99999999999999999999", 400, `"99999999999999999999"`},
		{"GET", "/tasks?state=happy", 400, `"happy"`},
		{"GET", "/deferred?reason=bored", 400, `"bored"`},
		{"GET", "/deferred?state=paused", 400, `unknown parameter "state"`},
		{"GET", "/?refresh=-1", 400, `"-1"`},
		{"GET", "/?refresh=3601", 400, `"3601"`},
		{"GET", "/?limit=5", 400, `unknown parameter "limit"`},
		{"GET", "/?prefix=a&state=happy", 400, `"happy"`},
	} {
		rec := httptest.NewRecorder()
		newHandler(n).ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), tc.method, tc.target, nil))
		var e Error
		if err := json.Unmarshal(rec.Body.Bytes(), &e); err != nil {
			t.Errorf("%s %s: %v in %s", tc.method, tc.target, err, rec.Body)
		}
		if rec.Code != tc.status || !strings.Contains(e.Error, tc.message) {
			t.Errorf("%s %s: %d %s, want %d with %s", tc.method, tc.target, rec.Code, e.Error, tc.status, tc.message)
		}
		if allow := rec.Header().Get("Allow"); (allow == "GET, HEAD") != (tc.status == 405) {
			t.Errorf("%s %s: Allow is %q", tc.method, tc.target, allow)
		}
		if got := rec.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("%s %s: content type %q", tc.method, tc.target, got)
		}
	}
}

func TestEveryAnswerIsGuarded(t *testing.T) {
	n := &fakeNode{name: "node-1"}
	for _, target := range []string{"/", "/node", "/tasks", "/deferred", "/nowhere", "/tasks?limit=x"} {
		h := get(t, n, target).Header()
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", target, h)
		}
	}
}

func TestHeadAnswersAsGetWithoutABody(t *testing.T) {
	srv := httptest.NewServer(newHandler(&fakeNode{name: "node-1"}))
	defer srv.Close()
	for _, target := range []string{"/", "/node", "/tasks", "/deferred"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, srv.URL+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		want := get(t, &fakeNode{}, target).Header().Get("Content-Type")
		if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != want {
			t.Errorf("HEAD %s: %s %q, want %q", target, resp.Status, resp.Header.Get("Content-Type"), want)
		}
	}
}

func TestBelowAPath(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/ops/", http.StripPrefix("/ops", newHandler(&fakeNode{name: "node-1"})))
	for target, want := range map[string]string{"/ops/": "<!DOCTYPE html>", "/ops/node": `"name":"node-1"`, "/ops/tasks": `"total":0`} {
		rec := httptest.NewRecorder()
		mux.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
		if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), want) {
			t.Errorf("%s: %d %s", target, rec.Code, rec.Body)
		}
	}
}

func TestFilters(t *testing.T) {
	state := func(c statemachine.StateCode) fakeMachine {
		return fakeMachine{state: statemachine.State{Code: c}}
	}
	n := &fakeNode{
		tasks: []metafora.RunningTask{
			running("a", plainHandler{}),
			running("a/1", state(statemachine.Paused)),
			running("a/2", state(statemachine.Runnable)),
			running("ab", state(statemachine.Paused)),
			running("b", state(statemachine.Paused)),
		},
		ignores: []metafora.Deferred{
			{ID: "a/3", Reason: metafora.DeferredByError},
			{ID: "c", Reason: metafora.DeferredByBalancer},
			{ID: "d", Reason: metafora.DeferredByError},
		},
	}
	for target, want := range map[string]string{
		"/tasks":                              "[a a/1 a/2 ab b] 5 ",
		"/tasks?task=a":                       "[a] 1 ",
		"/tasks?task=a/":                      "[] 0 ",
		"/tasks?task=z":                       "[] 0 ",
		"/tasks?task=a%2F1":                   "[a/1] 1 ",
		"/tasks?task=b&prefix=a":              "[] 0 ",
		"/tasks?prefix=a/":                    "[a/1 a/2] 2 ",
		"/tasks?prefix=zz":                    "[] 0 ",
		"/tasks?state=paused":                 "[a/1 ab b] 3 ",
		"/tasks?state=paused&prefix=a":        "[a/1 ab] 2 ",
		"/tasks?state=paused&limit=2":         "[a/1 ab] 3 ab",
		"/tasks?state=paused&limit=2&after=b": "[] 3 ",
		"/tasks?limit=2":                      "[a a/1] 5 a/1",
		"/tasks?limit=2&after=a/1":            "[a/2 ab] 5 ab",
		"/tasks?limit=2&after=ab":             "[b] 5 ",
		"/tasks?limit=5":                      "[a a/1 a/2 ab b] 5 ",
		"/tasks?after=aa":                     "[ab b] 5 ",
		"/deferred":                           "[a/3 c d] 3 ",
		"/deferred?reason=error":              "[a/3 d] 2 ",
		"/deferred?reason=error&limit=1":      "[a/3] 2 a/3",
		"/deferred?prefix=a":                  "[a/3] 1 ",
	} {
		ids, rest := listed(t, n, target)
		if got := fmt.Sprintf("%v %d %s", ids, rest.Total, rest.Next); got != want {
			t.Errorf("%s: %s, want %s", target, got, want)
		}
	}
}

// listed returns the IDs that a list has.
func listed(t *testing.T, n node, target string) ([]string, Rest) {
	t.Helper()
	var list struct {
		Tasks    []Task
		Deferred []DeferredTask
		Rest
	}
	rec := get(t, n, target)
	if err := json.Unmarshal(rec.Body.Bytes(), &list); err != nil || rec.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", target, rec.Code, rec.Body)
	}
	ids := []string{}
	for _, task := range list.Tasks {
		ids = append(ids, task.ID)
	}
	for _, d := range list.Deferred {
		ids = append(ids, d.ID)
	}
	return ids, list.Rest
}

// Page by page, a client sees what it would have seen at once.
func TestPagesAddUpToTheList(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		set := rapid.SliceOfNDistinct(rapid.StringMatching(`[ab/ &é<]{1,4}`), 0, 30, rapid.ID[string]).Draw(rt, "ids")
		slices.Sort(set)
		n := &fakeNode{}
		for _, id := range set {
			h := metafora.Handler(plainHandler{})
			if rapid.Bool().Draw(rt, "paused") {
				h = fakeMachine{state: statemachine.State{Code: statemachine.Paused}}
			}
			n.tasks = append(n.tasks, running(id, h))
		}
		params := url.Values{}
		if rapid.Bool().Draw(rt, "by prefix") {
			params.Set("prefix", rapid.StringMatching(`[ab/]{1,2}`).Draw(rt, "prefix"))
		}
		if rapid.Bool().Draw(rt, "by state") {
			params.Set("state", "paused")
		}
		all, rest := listed(t, n, "/tasks?"+params.Encode())
		if rest.Total != len(all) || rest.Next != "" {
			rt.Fatalf("a whole list of %d has the rest %+v", len(all), rest)
		}
		limit := rapid.IntRange(1, 5).Draw(rt, "limit")
		params.Set("limit", fmt.Sprint(limit))
		paged := []string{}
		for range len(all) + 1 {
			ids, rest := listed(t, n, "/tasks?"+params.Encode())
			if rest.Total != len(all) || len(ids) > limit {
				rt.Fatalf("page %v of %+v, want %d of %d", ids, rest, limit, len(all))
			}
			paged = append(paged, ids...)
			if rest.Next == "" {
				break
			}
			params.Set("after", rest.Next)
		}
		if !slices.Equal(paged, all) {
			rt.Fatalf("pages have %q, the list %q", paged, all)
		}
	})
}

func FuzzParseQuery(f *testing.F) {
	for _, raw := range []string{"", "task=a", "task=a&task=b", "limit=5&after=x", "limit=-1", "state=paused", "%zz", "a;b", "refresh=0", "prefix=%00"} {
		f.Add(raw)
	}
	all := []string{paramTask, paramPrefix, paramState, paramReason, paramLimit, paramAfter, paramRefresh}
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := parseQuery(raw, all...)
		if err != nil {
			return
		}
		if q.limit < 0 || q.refresh < 0 || q.refresh > maxRefresh {
			t.Errorf("%q is %+v", raw, q)
		}
		if _, err := parseQuery(raw); err == nil && raw != "" && q != (query{refresh: defaultRefresh}) {
			t.Errorf("%q is accepted where no parameter is", raw)
		}
	})
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour:                   "< 1 s",
		0:                            "< 1 s",
		1999 * time.Millisecond:      "1 s",
		time.Minute:                  "1 min",
		61 * time.Second:             "1 min 1 s",
		time.Hour + 59*time.Second:   "1 h",
		25*time.Hour + 5*time.Minute: "1 d 1 h",
		400 * 24 * time.Hour:         "400 d",
	} {
		if got := span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
