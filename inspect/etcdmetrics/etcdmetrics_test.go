package etcdmetrics

import (
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"github.com/metafora-go/metafora/backend/etcd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newCoordinator returns one that has not joined: no etcd is asked.
func newCoordinator(t *testing.T) *etcd.Coordinator {
	t.Helper()
	cli, err := clientv3.New(clientv3.Config{Endpoints: []string{"127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cli.Close() })
	c, err := etcd.NewCoordinator(cli, "node-1", etcd.Options{Namespace: "/test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Each field of the Stats is one metric, but for those listed here.
func TestEveryFigureIsAMetric(t *testing.T) {
	elsewhere := map[string]string{
		"ClaimsTried":  "metafora_claims_total",
		"ClaimsWon":    "metafora_claims_total",
		"ClaimsLost":   "metafora_claims_total",
		"Claims":       "metafora_node_claims",
		"Transactions": "metafora_etcd_transaction_operations_count",
		"Operations":   "metafora_etcd_transaction_operations_sum",
		"GroupSizes":   "metafora_etcd_transaction_operations_bucket",
	}
	figures := NewCollector(newCoordinator(t)).(*collector).figures
	used := make(map[int]bool)
	stats := reflect.TypeFor[etcd.Stats]()
	for i := range stats.NumField() {
		field := stats.Field(i)
		var s etcd.Stats
		want := 42.0
		switch v := reflect.ValueOf(&s).Elem().Field(i); v.Interface().(type) {
		case int, int64:
			v.SetInt(42)
		case time.Duration:
			v.SetInt(int64(1500 * time.Millisecond))
			want = 1.5
		}
		var shown []int
		for j, f := range figures {
			if f.value(s) == want {
				shown = append(shown, j)
				used[j] = true
			}
		}
		if counter := field.Type == reflect.TypeFor[int64](); len(shown) == 1 && counter != (figures[shown[0]].kind == prometheus.CounterValue) {
			t.Errorf("%s is of the wrong type: %v", field.Name, figures[shown[0]].desc)
		}
		if _, ok := elsewhere[field.Name]; len(shown) > 1 || (len(shown) == 0) != ok {
			t.Errorf("etcd.Stats.%s is %d metrics; add it to the collector", field.Name, len(shown))
		}
	}
	if len(used) != len(figures) {
		t.Errorf("of %d metrics %d show a figure", len(figures), len(used))
	}
}

func TestGroupSizesAreCumulative(t *testing.T) {
	buckets, count := cumulative(map[int]int64{4: 3, 1: 2, 2: 0, 8: 1})
	want := map[float64]uint64{1: 2, 2: 2, 4: 5, 8: 6}
	if !maps.Equal(buckets, want) || count != 6 {
		t.Errorf("%v, %d in all; want %v", buckets, count, want)
	}
}

// What is described is what is collected.
func TestRegistryAcceptsTheCollector(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(newCoordinator(t)))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		names = append(names, f.GetName())
	}
	for _, want := range []string{"metafora_etcd_lease_renewal_age_seconds", "metafora_etcd_index_tasks", "metafora_etcd_transaction_operations"} {
		if !slices.Contains(names, want) {
			t.Errorf("there is no %s among %v", want, names)
		}
	}
}
