package inspect

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// parsed is what a test looks at in a page.
type parsed struct {
	elements map[string][]map[string]string // attributes by element
	text     string                         // all of it, blanks reduced
}

// parsePage fails the test unless the page is well-formed, every element being
// closed but those that need not be.
func parsePage(t *testing.T, body string) parsed {
	t.Helper()
	dec := xml.NewDecoder(strings.NewReader(body))
	dec.Strict = false
	dec.AutoClose = xml.HTMLAutoClose
	dec.Entity = xml.HTMLEntity
	p := parsed{elements: make(map[string][]map[string]string)}
	var open []string
	var text strings.Builder
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, body)
		}
		switch e := token.(type) {
		case xml.StartElement:
			attrs := make(map[string]string)
			for _, a := range e.Attr {
				attrs[a.Name.Local] = a.Value
			}
			p.elements[e.Name.Local] = append(p.elements[e.Name.Local], attrs)
			open = append(open, e.Name.Local)
			if slices.Contains([]string{"dd", "dt", "p", "td", "th"}, e.Name.Local) {
				text.WriteString(" ") // these stand apart
			}
		case xml.EndElement:
			if len(open) == 0 || open[len(open)-1] != e.Name.Local {
				t.Fatalf("</%s> closes %v in\n%s", e.Name.Local, open, body)
			}
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 && open[len(open)-1] != "style" {
				text.Write(e)
			}
		}
	}
	if len(open) > 0 {
		t.Fatalf("%v is left open in\n%s", open, body)
	}
	p.text = strings.Join(strings.Fields(text.String()), " ")
	return p
}

func getPage(t *testing.T, n node, target string) parsed {
	t.Helper()
	rec := get(t, n, target)
	if rec.Code != http.StatusOK || rec.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%s: %d %v\n%s", target, rec.Code, rec.Header(), rec.Body)
	}
	return parsePage(t, rec.Body.String())
}

func TestPageShowsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := sample()
		time.Sleep(10 * time.Second)
		p := getPage(t, n, "/")
		for _, want := range []string{
			"node-1 frozen", "Up for 1 d", "Running 3", "Settling 4", "Claiming 5", "Deferred 2",
			`a Latest error: no "<space>" left sleeping for 1 min 10 s, wakes in 59 min 50 s 10 s 7`,
			"b running 10 s 7",
			"c/<script> running stopping for 9 s claim lost 8 s ago 10 s 7",
			"d now refused by the balancer",
			"e in centuries the broker failed the claim",
		} {
			if !strings.Contains(p.text, want) {
				t.Errorf("the page lacks %q:\n%s", want, p.text)
			}
		}
	})
}

func TestModes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tc := range []struct {
			node fakeNode
			mode string
		}{
			{fakeNode{}, "not started"},
			{fakeNode{started: time.Now()}, "active"},
			{fakeNode{started: time.Now(), frozen: true}, "frozen"},
			{fakeNode{started: time.Now(), frozen: true, draining: true}, "draining"},
		} {
			if p := getPage(t, &tc.node, "/"); !strings.Contains(p.text, tc.mode) {
				t.Errorf("the page does not say %q: %s", tc.mode, p.text)
			}
		}
	})
}

// Whatever a task is called and whatever its errors say stays text, and the page
// loads nothing.
func TestPageEscapesEverything(t *testing.T) {
	const evil = `</style></script><script>alert(1)</script>"' onload=x <img src=x>&amp;{{.}}`
	bad := statemachine.State{
		Code:   statemachine.StateCode(evil),
		Errors: []statemachine.TaskError{{Error: evil}},
	}
	n := &fakeNode{
		name:    evil,
		tasks:   []metafora.RunningTask{running(evil, fakeMachine{state: bad})},
		ignores: []metafora.Deferred{{ID: evil, Reason: metafora.DeferReason(evil)}},
	}
	for range pageRows { // for a link to the next page
		n.tasks = append(n.tasks, running(evil, plainHandler{}))
	}
	clean := getPage(t, &fakeNode{}, "/")
	for _, target := range []string{"/", "/?prefix=" + url.QueryEscape(evil), "/?after=" + url.QueryEscape(evil[:2])} {
		p := getPage(t, n, target)
		for name, elements := range p.elements {
			if _, ok := clean.elements[name]; !ok && !slices.Contains([]string{"table", "thead", "tbody", "tr", "th", "td", "time", "div", "p"}, name) {
				t.Errorf("%s: the page has the element <%s>", target, name)
			}
			for _, attrs := range elements {
				for attr, value := range attrs {
					if strings.HasPrefix(attr, "on") || attr == "src" || attr == "style" {
						t.Errorf("%s: <%s> has %s=%q", target, name, attr, value)
					}
					if attr == "href" && !regexp.MustCompile(`^(\?|node$|tasks$|deferred$|#)`).MatchString(value) {
						t.Errorf("%s: <%s> leads to %q", target, name, value)
					}
				}
			}
		}
		if shown := strings.Contains(p.text, evil); !shown {
			t.Errorf("%s: the page lacks the task's ID: %s", target, p.text)
		}
	}
}

// A browser applies the page's own style and nothing else: the hash in the policy
// is that of the style as it was sent.
func TestPolicyFitsThePage(t *testing.T) {
	rec := get(t, &fakeNode{}, "/")
	_, rest, _ := strings.Cut(rec.Body.String(), "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	hash := sha256.Sum256([]byte(style))
	policy := rec.Header().Get("Content-Security-Policy")
	if want := "style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'"; !strings.Contains(policy, want) || style == "" {
		t.Errorf("policy %q lacks %q", policy, want)
	}
	if !strings.HasPrefix(policy, "default-src 'none'; ") {
		t.Errorf("policy %q", policy)
	}
}

func TestPageRefreshesItself(t *testing.T) {
	for target, want := range map[string]string{
		"/": "5", "/?refresh=": "5", "/?refresh=60": "60", "/?refresh=0": "",
	} {
		p := getPage(t, &fakeNode{}, target)
		got := ""
		for _, meta := range p.elements["meta"] {
			if meta["http-equiv"] == "refresh" {
				got = meta["content"]
			}
		}
		if got != want {
			t.Errorf("%s refreshes every %q, want %q", target, got, want)
		}
	}
}

// Every link keeps what else was asked for, and following them shows all tasks.
func TestPagesOfThePage(t *testing.T) {
	n := &fakeNode{tasks: manyTasks(2*pageRows+50, nil)}
	n.tasks = append(n.tasks, running("u & é", plainHandler{}))
	target, rows := "/?prefix=task&refresh=0", 0
	for pages := 1; target != ""; pages++ {
		p := getPage(t, n, target)
		rows += len(p.elements["tr"]) - 1
		next := ""
		for _, a := range p.elements["a"] {
			u, err := url.Parse(a["href"])
			if err != nil {
				t.Fatal(err)
			}
			q := u.Query()
			if u.Path == "" && q.Get("prefix") != "task" {
				t.Errorf("%s: link %q forgets the filter", target, a["href"])
			}
			if after := q.Get("after"); after > mustQuery(t, target).Get("after") {
				next = "/" + a["href"]
				if q.Get("refresh") != "0" {
					t.Errorf("%s: link %q forgets not to refresh", target, a["href"])
				}
			}
		}
		target = next
		if pages > 3 {
			t.Fatalf("there are more than 3 pages: %s", target)
		}
	}
	if rows != 2*pageRows+50 {
		t.Errorf("the pages show %d tasks", rows)
	}
}

// The second page of running tasks still shows which ones are deferred.
func TestPagesOfThePageKeepTheDeferredTasks(t *testing.T) {
	n := &fakeNode{ignores: []metafora.Deferred{{ID: "early", Reason: metafora.DeferredByError}}}
	if p := getPage(t, n, "/?after=late"); !strings.Contains(p.text, "early") {
		t.Errorf("the page lacks a deferred task: %s", p.text)
	}
}

func mustQuery(t *testing.T, target string) url.Values {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

// What assistive technology needs: a language, a title, one h1, labelled inputs,
// header cells with a scope, and named regions.
func TestPageIsAccessible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := get(t, sample(), "/")
		p := parsePage(t, rec.Body.String())
		if len(p.elements["h1"]) != 1 || len(p.elements["title"]) != 1 || len(p.elements["main"]) != 1 || p.elements["html"][0]["lang"] != "en" {
			t.Error("the page lacks a language, a title, a heading or a main part")
		}
		for _, th := range p.elements["th"] {
			if th["scope"] == "" {
				t.Errorf("header cell %v has no scope", th)
			}
		}
		for _, control := range slices.Concat(p.elements["input"], p.elements["select"]) {
			label := regexp.MustCompile(`<label>[^<]*<(input|select)[^>]* name="` + control["name"] + `"`)
			if control["type"] != "hidden" && !label.MatchString(rec.Body.String()) {
				t.Errorf("control %v has no label", control)
			}
		}
		ids := make(map[string]int)
		for _, elements := range p.elements {
			for _, attrs := range elements {
				if id := attrs["id"]; id != "" {
					ids[id]++
				}
			}
		}
		for _, elements := range p.elements {
			for _, attrs := range elements {
				if by := attrs["aria-labelledby"]; by != "" && ids[by] != 1 {
					t.Errorf("%d elements have the ID %q", ids[by], by)
				}
			}
		}
	})
}

func TestFormKeepsWhatWasAskedFor(t *testing.T) {
	const prefix = `a&"b`
	body := get(t, &fakeNode{}, "/?state=paused&refresh=0&prefix="+url.QueryEscape(prefix)).Body.String()
	for _, want := range []string{
		fmt.Sprintf(`name="prefix" value="%s"`, html.EscapeString(prefix)),
		`<option selected>paused</option>`,
		`name="refresh" value="0"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the form lacks %s:\n%s", want, body)
		}
	}
}
