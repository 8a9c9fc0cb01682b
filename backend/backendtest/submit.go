package backendtest

import (
	"errors"
	"slices"
	"strings"

	"github.com/metafora-go/metafora"
)

func submitChecks() []check {
	return []check{
		{"ExistingIsRefused", submitOfExistingTaskIsRefused},
		{"ConcurrentlyOnce", concurrentSubmitsSubmitOnce},
		{"TooLargeIsRefused", tooLargeTasksAreRefused},
		{"UnencodableIsRefused", unencodableTasksAreRefused},
		{"BatchStoresAll", batchStoresAllTasks},
		{"BatchOfLargeTasks", batchOfLargeTasksIsStored},
		{"BatchFailsInPart", batchFailsForSomeTasks},
		{"InvalidBatchWritesNothing", invalidBatchWritesNothing},
		{"EmptyBatch", emptyBatchIsFine},
	}
}

// "ErrTaskExists: a task of this ID is there", waiting or running, and it stays
// as it is.
func submitOfExistingTaskIsRefused(c *cluster) {
	first := &job{id: "t-1", Text: "first"}
	c.must("submit", c.client.SubmitTask(c.ctx, first))
	a := c.join("a", NodeOptions{})
	refused := func() {
		c.t.Helper()
		err := c.client.SubmitTask(c.ctx, &job{id: "t-1", Text: "second"})
		c.wantError("submit a task that exists", err, metafora.ErrTaskExists, "t-1")
		info, err := c.client.Task(c.ctx, "t-1")
		c.must("look up a task", err)
		if string(info.Props) != jsonOf(c, first) {
			c.t.Fatalf("the properties became %s", info.Props)
		}
	}
	refused()
	claim := a.take("t-1")
	refused()
	c.wantOwner(claim)
}

func concurrentSubmitsSubmitOnce(c *cluster) {
	submitted := 0
	for _, err := range c.race(16, func(int) error { return c.client.SubmitTask(c.ctx, metafora.NewTask("t-1")) }) {
		if err == nil {
			submitted++
			continue
		}
		c.wantError("concurrent submit", err, metafora.ErrTaskExists, "t-1")
	}
	if submitted != 1 {
		c.t.Fatalf("%d submits of one task succeeded", submitted)
	}
}

// "ErrInvalidID, ErrTooLarge: t cannot be stored".
func tooLargeTasksAreRefused(c *cluster) {
	if c.h.TooLarge == 0 {
		c.need("a limit for properties: TooLarge is 0", false)
	}
	huge := &job{id: "huge", Text: strings.Repeat("x", c.h.TooLarge)}
	c.wantError("submit a task that is too large", c.client.SubmitTask(c.ctx, huge), metafora.ErrTooLarge, "huge")
	err := c.client.SubmitTasks(c.ctx, []metafora.Task{huge})
	c.wantError("submit a batch that is too large", err, metafora.ErrTooLarge, "huge")
	c.wantGone("huge")
	c.submit("huge")
}

func unencodableTasksAreRefused(c *cluster) {
	bad := unencodable{id: "bad-1"}
	if err := c.client.SubmitTask(c.ctx, bad); err == nil || !strings.Contains(err.Error(), "bad-1") {
		c.t.Errorf("submit a task that has no JSON form: error %v, want one that names it", err)
	}
	if err := c.client.SubmitTasks(c.ctx, []metafora.Task{metafora.NewTask("good"), bad}); err == nil || !strings.Contains(err.Error(), "bad-1") {
		c.t.Errorf("submit it in a batch: error %v, want one that names it", err)
	}
	c.wantGone("bad-1")
	c.wantGone("good")
}

// unencodable is a task that has no JSON form.
type unencodable struct{ id string }

func (u unencodable) ID() string { return u.id }

func (u unencodable) MarshalJSON() ([]byte, error) { return nil, errors.New("no JSON form") }

func batchStoresAllTasks(c *cluster) {
	ids := numbered("t", 1200)
	batch := make([]metafora.Task, len(ids))
	for i, id := range ids {
		batch[len(ids)-1-i] = &job{id: id, Text: id}
	}
	c.must("submit a batch", c.client.SubmitTasks(c.ctx, batch))
	infos, err := c.client.Tasks(c.ctx)
	c.must("list tasks", err)
	if got := idsOf(infos); !slices.Equal(got, ids) {
		c.t.Fatalf("%d tasks are stored, want %d", len(got), len(ids))
	}
	for _, info := range infos {
		if want := jsonOf(c, &job{id: info.ID, Text: info.ID}); string(info.Props) != want {
			c.t.Fatalf("task %q has the properties %s, want %s", info.ID, info.Props, want)
		}
	}
}

// A batch may be larger than anything that the broker stores at once.
func batchOfLargeTasksIsStored(c *cluster) {
	size := 100 << 10
	if c.h.TooLarge > 0 {
		size = min(size, c.h.TooLarge/8)
	}
	ids := numbered("t", 40)
	batch := make([]metafora.Task, len(ids))
	for i, id := range ids {
		batch[i] = &job{id: id, Text: strings.Repeat("x", size)}
	}
	c.must("submit a batch of large tasks", c.client.SubmitTasks(c.ctx, batch))
	infos, err := c.client.Tasks(c.ctx)
	c.must("list tasks", err)
	if got := idsOf(infos); !slices.Equal(got, ids) {
		c.t.Fatalf("%d tasks are stored, want %d", len(got), len(ids))
	}
	for _, info := range infos {
		if len(info.Props) < size {
			c.t.Fatalf("task %q has %d bytes of properties, want %d", info.ID, len(info.Props), size)
		}
	}
	a := c.join("a", NodeOptions{})
	a.awaitTasks(0, ids)
}

// "Each task succeeds or fails by itself; the error joins one error for each
// task that failed."
func batchFailsForSomeTasks(c *cluster) {
	ids := numbered("t", 300)
	existing := []string{ids[0], ids[7], ids[150], ids[299]}
	c.submit(existing...)
	err := c.client.SubmitTasks(c.ctx, plainTasks(ids))
	for _, id := range existing {
		c.wantError("submit a batch with tasks that exist", err, metafora.ErrTaskExists, id)
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != len(existing) {
		c.t.Fatalf("the error %v does not join one error for each of %d tasks", err, len(existing))
	}
	for i, err := range joined.Unwrap() {
		c.wantError("one of the joined errors", err, metafora.ErrTaskExists, existing...)
		if strings.Contains(err.Error(), ids[1]) {
			c.t.Fatalf("the error %d names a task that did not fail: %v", i, err)
		}
	}
	infos, err := c.client.Tasks(c.ctx)
	c.must("list tasks", err)
	if got := idsOf(infos); !slices.Equal(got, ids) {
		c.t.Fatalf("%d tasks are stored, want %d", len(got), len(ids))
	}
}

// "Invalid tasks, and IDs listed twice, are found before anything is written:
// then nothing is."
func invalidBatchWritesNothing(c *cluster) {
	good := numbered("good", 300)
	for name, bad := range map[string]metafora.Task{
		"an invalid ID": metafora.NewTask("a\nb"), "no ID": metafora.NewTask(""), "no task": nil,
	} {
		err := c.client.SubmitTasks(c.ctx, append(plainTasks(good), bad))
		c.wantError("submit a batch with "+name, err, metafora.ErrInvalidID, "")
	}
	err := c.client.SubmitTasks(c.ctx, append(plainTasks(good), metafora.NewTask(good[0])))
	if err == nil || !strings.Contains(err.Error(), good[0]) {
		c.t.Fatalf("submit a batch with a task listed twice: error %v, want one that names it", err)
	}
	infos, err := c.client.Tasks(c.ctx)
	c.must("list tasks", err)
	if len(infos) != 0 {
		c.t.Fatalf("%d tasks of invalid batches are stored", len(infos))
	}
}

func emptyBatchIsFine(c *cluster) {
	c.must("submit no tasks", c.client.SubmitTasks(c.ctx, nil))
	c.must("submit no tasks", c.client.SubmitTasks(c.ctx, []metafora.Task{}))
}
