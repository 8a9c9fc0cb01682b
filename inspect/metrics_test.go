package inspect_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/inspect"
)

// samples returns what collectors have of node-1, without comments, and of
// histograms only the sums and counts.
func samples(t *testing.T, cs ...prometheus.Collector) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	for _, c := range cs {
		registry.MustRegister(c)
	}
	rec := httptest.NewRecorder()
	scrape := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(rec, scrape)
	if rec.Code != http.StatusOK {
		t.Fatal(rec.Body)
	}
	anonymous := strings.NewReplacer(`{node="node-1"}`, "", `,node="node-1"`, "", `node="node-1",`, "")
	var lines []string
	for line := range strings.Lines(rec.Body.String()) {
		if !strings.HasPrefix(line, "#") && !strings.Contains(line, "_bucket{") {
			lines = append(lines, anonymous.Replace(line))
		}
	}
	return strings.Join(lines, "")
}

var leaseLine = regexp.MustCompile("metafora_lease_remaining_seconds .*\n")

// patient is a balancer that claims every task at the second time of asking, and
// lets "moved" go.
type patient struct {
	metafora.Balancer
	seen map[string]bool
}

func (p *patient) CanClaim(t metafora.Task) (time.Time, bool) {
	if p.seen[t.ID()] {
		return p.Balancer.CanClaim(t)
	}
	p.seen[t.ID()] = true
	return time.Now().Add(3 * time.Second), false
}

func (p *patient) Balance() []string { return []string{"moved"} }

// One node lives through everything that there is to count, on a bubble's clock.
func TestMetricsOfARealNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		broker := memory.NewBroker()
		coord, client := broker.Coordinator("node-1"), broker.Client()
		metrics := inspect.NewMetrics("node-1")
		handler := metafora.SimpleHandler(func(ctx context.Context, task metafora.Task, stop <-chan struct{}) bool {
			switch task.ID() {
			case "done":
				time.Sleep(10 * time.Second)
				return true
			case "panics":
				panic("on purpose")
			}
			select {
			case <-stop:
			case <-ctx.Done():
			}
			return false
		})
		c := start(t, coord, handler, &patient{balance.All(), make(map[string]bool)},
			metafora.WithObserver(metrics), metafora.WithBalanceInterval(time.Hour), metafora.WithReclaimDelay(time.Hour))
		state := inspect.NewCollector(c, coord)
		time.Sleep(10 * time.Second) // until the first balance round is over
		for _, id := range []string{"done", "panics", "moved", "deleted", "stays", "stays too"} {
			must(t, client.SubmitTask(ctx, metafora.NewTask(id)))
		}
		time.Sleep(60 * time.Second)
		must(t, client.DeleteTask(ctx, "deleted"))
		must(t, client.SubmitCommand(ctx, "node-1", metafora.Balance()))
		synctest.Wait()

		// The round that followed the node's joining, and the command, are two.
		const counted = `metafora_balance_rounds_total 2
metafora_balance_stopped_tasks_total 1
metafora_balancer_refusals_total 6
metafora_claim_duration_seconds_sum 0
metafora_claim_duration_seconds_count 6
metafora_claims_total{result="failed"} 0
metafora_claims_total{result="gone"} 0
metafora_claims_total{result="lost"} 0
metafora_claims_total{result="won"} 6
metafora_handler_panics_total 1
metafora_task_run_duration_seconds_sum{result="done"} 10
metafora_task_run_duration_seconds_count{result="done"} 2
metafora_task_run_duration_seconds_sum{result="released"} 114
metafora_task_run_duration_seconds_count{result="released"} 2
metafora_task_start_delay_seconds_sum 18
metafora_task_start_delay_seconds_count 6
metafora_tasks_done_total 2
metafora_tasks_lost_total{cause="lease"} 0
metafora_tasks_lost_total{cause="owner"} 1
metafora_tasks_released_total 1
`
		if got := samples(t, metrics); got != counted {
			t.Errorf("counted:\n%s\nwant:\n%s", got, counted)
		}
		const measured = `metafora_cluster_nodes 1
metafora_node_claims 2
metafora_node_draining 0
metafora_node_frozen 0
metafora_node_start_time_seconds 9.466848e+08
metafora_tasks{state="claiming"} 0
metafora_tasks{state="deferred"} 1
metafora_tasks{state="running"} 2
metafora_tasks{state="settling"} 0
`
		got := samples(t, state)
		var remaining float64
		_, lease, _ := strings.Cut(got, "metafora_lease_remaining_seconds ")
		if _, err := fmt.Sscan(lease, &remaining); err != nil || remaining <= 4 || remaining > 8 {
			t.Errorf("the lease of 10 s less 2 s has %v s left: %v", remaining, err)
		}
		if got := leaseLine.ReplaceAllString(got, ""); got != measured {
			t.Errorf("measured:\n%s\nwant:\n%s", got, measured)
		}

		must(t, client.SubmitCommand(ctx, "node-1", metafora.Freeze()))
		if !broker.ExpireLease("node-1") {
			t.Fatal("there is no lease")
		}
		synctest.Wait()
		for _, want := range []string{`metafora_tasks_lost_total{cause="lease"} 2`, "metafora_node_frozen 1", "metafora_node_draining 0"} {
			if got := samples(t, metrics, state); !strings.Contains(got, want) {
				t.Errorf("after the lease was lost there is no %s in:\n%s", want, got)
			}
		}
	})
}

// While the broker does not answer, tasks are neither running nor gone.
func TestUnsettledTasksAreMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		broker := memory.NewBroker()
		coord, client := broker.Coordinator("node-1"), broker.Client()
		c := start(t, coord, metafora.SimpleHandler(func(context.Context, metafora.Task, <-chan struct{}) bool {
			time.Sleep(time.Second)
			return true
		}), balance.All())
		must(t, client.SubmitTasks(ctx, []metafora.Task{metafora.NewTask("a"), metafora.NewTask("b")}))
		synctest.Wait()
		broker.Pause("node-1")
		time.Sleep(1500 * time.Millisecond)
		got := samples(t, inspect.NewCollector(c, bare{coord}))
		broker.Heal("node-1")
		for _, want := range []string{`{state="settling"} 2`, `{state="running"} 0`, `{state="claiming"} 0`} {
			if !strings.Contains(got, want) {
				t.Errorf("there is no %s in:\n%s", want, got)
			}
		}
	})
}

func TestClaimsAreCountedByResult(t *testing.T) {
	m := inspect.NewMetrics("node-1")
	for i, r := range []metafora.ClaimResult{metafora.ClaimWon, metafora.ClaimLost, metafora.ClaimGone, metafora.ClaimFailed} {
		for range i + 1 {
			m.Claimed(metafora.NewTask("a"), r, time.Second)
		}
	}
	got := samples(t, m)
	for _, want := range []string{
		`claims_total{result="won"} 1`, `claims_total{result="lost"} 2`, `claims_total{result="gone"} 3`, `claims_total{result="failed"} 4`,
		"claim_duration_seconds_count 1", "claim_duration_seconds_sum 1", // of the one that was won
	} {
		if !strings.Contains(got, "metafora_"+want+"\n") {
			t.Errorf("there is no %s in:\n%s", want, got)
		}
	}
}

// bare is a Coordinator that is neither a LeaseHolder nor a ClusterState.
type bare struct{ metafora.Coordinator }

func TestCoordinatorsAreMeasuredAsFarAsTheyCanBe(t *testing.T) {
	coord := bare{memory.NewBroker().Coordinator("node-1")}
	c, err := metafora.NewConsumer(coord, metafora.SimpleHandler(nil), balance.All())
	must(t, err)
	got := samples(t, inspect.NewCollector(c, coord))
	if strings.Contains(got, "lease") || strings.Contains(got, "cluster") || !strings.Contains(got, "metafora_node_start_time_seconds 0\n") {
		t.Errorf("measured:\n%s", got)
	}
}

func TestNodesShareARegistry(t *testing.T) {
	registry := prometheus.NewRegistry()
	must(t, registry.Register(inspect.NewMetrics("node-1")))
	must(t, registry.Register(inspect.NewMetrics("node-2")))
	if err := registry.Register(inspect.NewMetrics("node-1")); err == nil {
		t.Error("a node can be registered twice")
	}
}

// call is a call of an Observer.
type call struct {
	method string
	args   []any
}

// recorder records the calls that it gets.
type recorder struct{ calls *[]call }

func (r recorder) record(method string, args ...any) {
	*r.calls = append(*r.calls, call{method, args})
}

func (r recorder) Refused(t metafora.Task, until time.Time) { r.record("Refused", t, until) }
func (r recorder) Claimed(t metafora.Task, result metafora.ClaimResult, took time.Duration) {
	r.record("Claimed", t, result, took)
}
func (r recorder) Running(c metafora.Claim, d time.Duration) { r.record("Running", c, d) }
func (r recorder) Returned(c metafora.Claim, done bool, ran time.Duration) {
	r.record("Returned", c, done, ran)
}

func (r recorder) Panicked(c metafora.Claim, value any, stack []byte) {
	r.record("Panicked", c, value, stack)
}
func (r recorder) Lost(c metafora.Claim, cause error) { r.record("Lost", c, cause) }
func (r recorder) Done(c metafora.Claim)              { r.record("Done", c) }
func (r recorder) Released(c metafora.Claim)          { r.record("Released", c) }
func (r recorder) Balanced(stopped int)               { r.record("Balanced", stopped) }

func TestObserversPassEverythingOn(t *testing.T) {
	var calls []call
	both := inspect.Observers(recorder{&calls}, nil, recorder{&calls})
	claim := metafora.Claim{TaskID: "a", Node: "node-1", Fence: 3}
	values := map[reflect.Type]any{
		reflect.TypeFor[metafora.Task]():        metafora.NewTask("a"),
		reflect.TypeFor[time.Time]():            time.Unix(1, 2),
		reflect.TypeFor[metafora.ClaimResult](): metafora.ClaimGone,
		reflect.TypeFor[time.Duration]():        time.Minute,
		reflect.TypeFor[metafora.Claim]():       claim,
		reflect.TypeFor[bool]():                 true,
		reflect.TypeFor[any]():                  "panic",
		reflect.TypeFor[[]byte]():               []byte("stack"),
		reflect.TypeFor[error]():                metafora.ErrLeaseLost,
		reflect.TypeFor[int]():                  42,
	}
	observer := reflect.TypeFor[metafora.Observer]()
	for i := range observer.NumMethod() {
		method := observer.Method(i)
		var in []reflect.Value
		var args []any
		for j := range method.Type.NumIn() {
			v, ok := values[method.Type.In(j)]
			if !ok {
				t.Fatalf("%s: no value of type %v", method.Name, method.Type.In(j))
			}
			in, args = append(in, reflect.ValueOf(v)), append(args, v)
		}
		calls = nil
		reflect.ValueOf(both).MethodByName(method.Name).Call(in)
		want := []call{{method.Name, args}, {method.Name, args}}
		if !reflect.DeepEqual(calls, want) {
			t.Errorf("%s was passed on as %s", method.Name, fmt.Sprint(calls))
		}
	}
}
