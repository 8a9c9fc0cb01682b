package inspect

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

// pageRows is how many tasks of each list the page shows at once.
const pageRows = 100

//go:embed page.html page.css
var pageFiles embed.FS

// page is the page for people: a template, and what a browser may do with it.
type page struct {
	template *template.Template
	style    template.CSS
	policy   string
}

func newPage() *page {
	// Neither can fail: the files are part of the program.
	style, _ := pageFiles.ReadFile("page.css")
	t := template.Must(template.New("page.html").Funcs(template.FuncMap{
		"span": span,
		"text": func(t time.Time) string { return t.Format(time.RFC3339) },
	}).ParseFS(pageFiles, "page.html"))
	hash := sha256.Sum256(style)
	return &page{
		template: t,
		style:    template.CSS(style),
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) +
			"'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
	}
}

// pageView is what the template shows.
type pageView struct {
	Style template.CSS
	Node  Node

	Tasks        []Task
	TasksRest    Rest
	Deferred     []DeferredTask
	DeferredRest Rest

	Query   url.Values // as it was asked
	States  []statemachine.StateCode
	Refresh int // seconds
}

func (h *handler) servePage(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, paramPrefix, paramState, paramAfter, paramRefresh)
	if err != nil {
		return err
	}
	q.limit = pageRows
	v := pageView{
		Style:   h.page.style,
		Node:    nodeOf(h.node),
		Query:   r.URL.Query(),
		States:  states(),
		Refresh: int(q.refresh / time.Second),
	}
	v.TasksRest, _ = selectTasks(h.node.Tasks(), q, func(t Task) error {
		v.Tasks = append(v.Tasks, t)
		return nil
	})
	q.after = "" // is about the running tasks
	v.DeferredRest, _ = selectDeferred(h.node.Ignores(), q, func(d DeferredTask) error {
		v.Deferred = append(v.Deferred, d)
		return nil
	})
	var body bytes.Buffer
	if err := h.page.template.Execute(&body, v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return nil
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", h.page.policy)
	w.Header().Set("Referrer-Policy", "no-referrer")
	_, _ = w.Write(body.Bytes())
	return nil
}

// With returns the page's own address with one parameter set, or removed where
// value is empty.
func (v pageView) With(name, value string) string {
	values := url.Values{}
	for n := range v.Query {
		values.Set(n, v.Query.Get(n))
	}
	values.Set(name, value)
	for n := range values {
		if values.Get(n) == "" {
			values.Del(n)
		}
	}
	return "?" + values.Encode()
}

// Mode returns what the node is up to.
func (v pageView) Mode() string {
	switch {
	case v.Node.Started.IsZero():
		return "not started"
	case v.Node.Draining:
		return "draining"
	case v.Node.Frozen:
		return "frozen"
	}
	return "active"
}

// Since returns how long ago t was.
func (v pageView) Since(t time.Time) string { return span(v.Node.Time.Sub(t)) }

// Due returns when t will be.
func (v pageView) Due(t time.Time) string {
	switch d := t.Sub(v.Node.Time); {
	case d <= 0:
		return "now"
	case d > 200*365*24*time.Hour: // a Duration cannot hold much more
		return "in centuries"
	default:
		return "in " + span(d)
	}
}

// Why returns what a reason to put a task off means.
func (v pageView) Why(r metafora.DeferReason) string {
	switch r {
	case metafora.DeferredByBalancer:
		return "refused by the balancer"
	case metafora.DeferredByError:
		return "the broker failed the claim"
	case metafora.DeferredByRelease:
		return "released by this node a moment ago"
	case metafora.DeferredByRun:
		return "announced while it ran here"
	}
	return string(r)
}

// span returns a duration for people, in its two largest units.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	two := func(unit time.Duration, name string, next time.Duration, nextName string) string {
		text := strconv.Itoa(int(d/unit)) + " " + name
		if rest := int(d % unit / next); rest > 0 {
			text += fmt.Sprintf(" %d %s", rest, nextName)
		}
		return text
	}
	switch {
	case d >= day:
		return two(day, "d", time.Hour, "h")
	case d >= time.Hour:
		return two(time.Hour, "h", time.Minute, "min")
	case d >= time.Minute:
		return two(time.Minute, "min", time.Second, "s")
	case d >= time.Second:
		return strconv.Itoa(int(d/time.Second)) + " s"
	}
	return "< 1 s"
}
