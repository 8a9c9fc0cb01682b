package inspect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/metafora-go/metafora"
)

// Handler returns a handler that shows what a node does:
//
//	/           a page for people
//	/node       the node itself, as [Node]
//	/tasks      the tasks that run on it, as [Tasks]
//	/deferred   the tasks that it will consider later, as [DeferredTasks]
//
// All but the page is JSON. Lists have the tasks of one moment, sorted by ID, and
// are sent task by task. These parameters select from them; what is unknown,
// malformed or given twice is refused:
//
//	task=ID      only the task of this ID; a running one comes with all its errors
//	prefix=TEXT  only tasks whose IDs begin with the text
//	state=CODE   of /tasks: only stateful tasks in this state
//	reason=TEXT  of /deferred: only tasks that wait for this reason
//	limit=N      at most N tasks; the rest begins after the ID in the list's "next"
//	after=ID     only tasks whose IDs come after this one
//
// The page takes prefix, state and after, and refresh=SECONDS: how often it
// loads itself again, 0 for never.
//
// To serve it below a path, strip that:
//
//	mux.Handle("/metafora/", http.StripPrefix("/metafora", inspect.Handler(consumer)))
//
// Only GET and HEAD are answered. Errors are JSON, see [Error]: 400 for a bad
// parameter, 404 for an unknown path, 405 for another method.
//
// The handler changes nothing, and it asks nobody who they are: mount it behind
// your own authentication, or on an address that only operators reach. It shows
// the IDs of tasks and the errors of stateful ones, and the page and each list
// cost time and memory proportional to the number of tasks that the node has.
func Handler(c *metafora.Consumer) http.Handler { return newHandler(c) }

// node is what a handler shows: a Consumer.
type node interface {
	Name() string
	Started() time.Time
	Frozen() bool
	Draining() bool
	Counts() metafora.Counts
	Tasks() []metafora.RunningTask
	Task(id string) (metafora.RunningTask, bool)
	Ignores() []metafora.Deferred
}

type handler struct {
	node node
	page *page
}

func newHandler(n node) *handler { return &handler{node: n, page: newPage()} }

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	serve := h.route(r.URL.Path)
	if serve == nil {
		fail(w, http.StatusNotFound, fmt.Errorf("no such path: %q", r.URL.Path))
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		fail(w, http.StatusMethodNotAllowed, fmt.Errorf("method %s is not allowed, only GET and HEAD are", r.Method))
		return
	}
	if err := serve(w, r); err != nil {
		fail(w, http.StatusBadRequest, err)
	}
}

// route returns what serves a path, nil for nothing. An error of that is the
// client's fault, and nothing was written.
func (h *handler) route(path string) func(http.ResponseWriter, *http.Request) error {
	switch path {
	case "", "/":
		return h.servePage
	case "/node":
		return h.serveNode
	case "/tasks":
		return h.serveTasks
	case "/deferred":
		return h.serveDeferred
	}
	return nil
}

func (h *handler) serveNode(w http.ResponseWriter, r *http.Request) error {
	if _, err := parseQuery(r.URL.RawQuery); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, nodeOf(h.node))
	return nil
}

func (h *handler) serveTasks(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, paramTask, paramPrefix, paramState, paramLimit, paramAfter)
	if err != nil {
		return err
	}
	sendList(w, r, h.node.Name(), "tasks", func(emit func(Task) error) (Rest, error) {
		return selectTasks(h.candidates(q), q, emit)
	})
	return nil
}

// candidates returns the running tasks that q can select from, sorted by ID. To
// look at one task does not cost what a look at all of them does.
func (h *handler) candidates(q query) []metafora.RunningTask {
	if q.task == "" {
		return h.node.Tasks()
	}
	if r, ok := h.node.Task(q.task); ok {
		return []metafora.RunningTask{r}
	}
	return nil
}

func (h *handler) serveDeferred(w http.ResponseWriter, r *http.Request) error {
	q, err := parseQuery(r.URL.RawQuery, paramTask, paramPrefix, paramReason, paramLimit, paramAfter)
	if err != nil {
		return err
	}
	sendList(w, r, h.node.Name(), "deferred", func(emit func(DeferredTask) error) (Rest, error) {
		return selectDeferred(h.node.Ignores(), q, emit)
	})
	return nil
}

func fail(w http.ResponseWriter, status int, err error) {
	writeJSON(w, status, Error{Error: err.Error()})
}

// writeJSON answers with a small value. An error in writing is the connection's.
func writeJSON(w http.ResponseWriter, status int, v any) {
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(v); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentJSON)
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes())
}
