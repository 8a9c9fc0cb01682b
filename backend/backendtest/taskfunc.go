package backendtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/metafora-go/metafora"
)

func taskFuncChecks() []check {
	return []check{
		{"GetsStoredProperties", taskFuncGetsTheStoredProperties},
		{"RefusedTasksAreSkipped", refusedTasksAreSkipped},
		{"RefusedUntilNextAnnounced", refusedTasksAreOfferedWhenNextAnnounced},
		{"PropertiesOfAnotherShape", propertiesOfAnotherShapeAreRefused},
		{"OneCallEachAnnouncement", taskFuncIsCalledOnceForEachAnnouncement},
	}
}

// job is a task with properties.
type job struct {
	id   string
	Text string            `json:"text"`
	Args []int             `json:"args,omitempty"`
	Env  map[string]string `json:"env,omitempty"`
}

func (j *job) ID() string { return j.id }

// decodeJob is the TaskFunc of jobs.
func decodeJob(id string, props []byte) (metafora.Task, error) {
	j := &job{id: id}
	return j, json.Unmarshal(props, j)
}

// sampleJob returns a job whose JSON has what encoders like to change.
func sampleJob(id string) *job {
	return &job{
		id: id, Text: "<a href=\"x\">& \u2028 日本語 \\ \n\t</a>",
		Args: []int{0, -1, 1 << 53}, Env: map[string]string{"": "empty", "k/1": "v=\"1\""},
	}
}

func taskFuncGetsTheStoredProperties(c *cluster) {
	want := sampleJob("waiting")
	c.must("submit", c.client.SubmitTask(c.ctx, want))
	a := c.join("a", NodeOptions{TaskFunc: decodeJob})
	live := sampleJob("live")
	c.must("submit", c.client.SubmitTasks(c.ctx, []metafora.Task{live}))
	for _, want := range []*job{want, live} {
		got, ok := a.awaitTask(0, want.id).(*job)
		if !ok || jsonOf(c, got) != jsonOf(c, want) {
			c.t.Errorf("announced %s, want %s", jsonOf(c, got), jsonOf(c, want))
		}
	}
}

// "A task that the TaskFunc refuses is logged and skipped", those beside it are
// not, and "it never stops the node".
func refusedTasksAreSkipped(c *cluster) {
	refuse := func(id string, _ []byte) (metafora.Task, error) {
		switch strings.Split(id, "-")[1] {
		case "error":
			return nil, errors.New("refused")
		case "errorandtask":
			return metafora.NewTask(id), errors.New("refused")
		case "panic":
			panic("refused")
		case "nil":
			return nil, nil
		case "other":
			return metafora.NewTask("another"), nil
		}
		return metafora.NewTask(id), nil
	}
	submit := func(prefix string) (good, bad []string) {
		for i, kind := range []string{"error", "errorandtask", "panic", "nil", "other"} {
			bad = append(bad, fmt.Sprintf("%s-%s", prefix, kind))
			good = append(good, fmt.Sprintf("%s-good-%d", prefix, i))
			c.submit(bad[i], good[i])
		}
		return good, bad
	}

	good, bad := submit("early")
	a := c.join("a", NodeOptions{TaskFunc: refuse})
	a.awaitTasks(0, good)
	lateGood, lateBad := submit("late")
	a.awaitTasks(0, lateGood)
	c.must("done", a.Done(c.ctx, a.take(lateGood[0])))
	c.grace()
	bad = append(append(bad, lateBad...), "another")
	if e := c.journal.since(0, a.said(announced, bad...)); len(e) > 0 {
		c.t.Fatalf("announced %q, which the TaskFunc refused", e[0].id)
	}
}

// Properties can be any JSON. Those that the TaskFunc cannot take reach it as
// they are, its error skips the task, and the task stays.
func propertiesOfAnotherShapeAreRefused(c *cluster) {
	shapes := map[string]string{"array": `[1,2]`, "text": `"text"`, "number": `-1.5e3`, "null": `null`, "flag": `true`, "other": `{"text":7}`}
	var mu sync.Mutex // guards got
	got := make(map[string]string)
	for id, props := range shapes {
		c.must("submit", c.client.SubmitTask(c.ctx, shaped{id, props}))
	}
	a := c.join("a", NodeOptions{TaskFunc: func(id string, props []byte) (metafora.Task, error) {
		mu.Lock()
		defer mu.Unlock()
		got[id] = string(props)
		if _, bad := shapes[id]; bad {
			return nil, fmt.Errorf("not a job: %s", props)
		}
		return decodeJob(id, props)
	}})
	c.must("submit", c.client.SubmitTask(c.ctx, &job{id: "good"}))
	a.take("good")
	for id, props := range shapes {
		mu.Lock()
		if got[id] != props {
			c.t.Errorf("the TaskFunc got the properties %s of %q, want %s", got[id], id, props)
		}
		mu.Unlock()
		info, err := c.client.Task(c.ctx, id)
		c.must("look up a task that was refused", err)
		if string(info.Props) != props || info.Owner != "" {
			c.t.Errorf("the task is %+v with the properties %s, want %s and no owner", info, info.Props, props)
		}
	}
}

// shaped is a task whose properties are the JSON that it has.
type shaped struct{ id, props string }

func (s shaped) ID() string                   { return s.id }
func (s shaped) MarshalJSON() ([]byte, error) { return []byte(s.props), nil }

// "the task is skipped until it is next announced".
func refusedTasksAreOfferedWhenNextAnnounced(c *cluster) {
	var calls atomic.Int64
	a := c.join("a", NodeOptions{TaskFunc: func(id string, _ []byte) (metafora.Task, error) {
		if id == "t" && calls.Add(1) == 1 {
			return nil, errors.New("not yet")
		}
		return metafora.NewTask(id), nil
	}})
	c.submit("t", "marker")
	a.awaitTask(0, "marker")
	c.resubmit("t")
	a.take("t")
}

// "Backends call it once for each announcement, from one goroutine at a time."
func taskFuncIsCalledOnceForEachAnnouncement(c *cluster) {
	var running atomic.Int64
	var overlapped atomic.Bool
	var mu sync.Mutex // guards calls
	calls := make(map[string]int)
	c.submitMany(numbered("early", 50))
	a := c.join("a", NodeOptions{TaskFunc: func(id string, props []byte) (metafora.Task, error) {
		if running.Add(1) > 1 {
			overlapped.Store(true)
		}
		defer running.Add(-1)
		mu.Lock()
		defer mu.Unlock()
		calls[id]++
		return metafora.PlainTask(id, props)
	}})
	late := numbered("late", 50)
	for i := range late {
		c.submit(late[i])
	}
	a.awaitTasks(0, append(numbered("early", 50), late...))
	c.must("release", a.Release(c.ctx, a.take(late[0])))
	mark := c.journal.mark()
	c.resubmit(late[1])
	a.awaitTask(mark, late[1])
	c.grace()

	if overlapped.Load() {
		c.t.Error("two calls of the TaskFunc overlapped")
	}
	times := make(map[string]int)
	for _, e := range c.journal.since(0, a.said(announced)) {
		times[e.id]++
	}
	mu.Lock()
	defer mu.Unlock()
	for id, n := range calls {
		if n != times[id] {
			c.t.Errorf("task %q: %d calls of the TaskFunc for %d announcements", id, n, times[id])
		}
	}
}

func jsonOf(c *cluster, v any) string {
	c.t.Helper()
	b, err := json.Marshal(v)
	c.must("encode as JSON", err)
	return string(b)
}
