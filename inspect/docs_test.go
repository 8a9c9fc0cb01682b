package inspect_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/balance"
	"github.com/metafora-go/metafora/inspect"
	"github.com/metafora-go/metafora/inspect/etcdmetrics"
)

var update = flag.Bool("update", false, "write the generated part of docs/inspect.md")

const page = "../docs/inspect.md"

// everything returns all metrics that there are, of a node that did nothing.
func everything(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	cli, err := clientv3.New(clientv3.Config{Endpoints: []string{"127.0.0.1:1"}}) // is not asked
	must(t, err)
	defer cli.Close()
	coord, err := etcd.NewCoordinator(cli, "node-1", etcd.Options{Namespace: "/test"})
	must(t, err)
	defer coord.Close()
	c, err := metafora.NewConsumer(coord, metafora.SimpleHandler(nil), balance.All())
	must(t, err)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(inspect.NewMetrics("node-1"), inspect.NewCollector(c, coord), etcdmetrics.NewCollector(coord))
	families, err := registry.Gather()
	must(t, err)
	return families
}

func TestDocumentedMetricsAreTheMetrics(t *testing.T) {
	text, err := os.ReadFile(page)
	must(t, err)
	const begin, end = "<!-- metrics: generated -->\n", "<!-- metrics: end -->"
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no part for metrics", page)
	}
	want := []byte(before + begin + table(everything(t)) + end + after)
	if bytes.Equal(text, want) {
		return
	}
	if !*update {
		t.Fatalf("%s does not show the metrics; mend it with: go test ./inspect -run %s -update", page, t.Name())
	}
	must(t, os.WriteFile(page, want, 0o644))
}

// table lists metrics by name, as Gather returns them.
func table(families []*dto.MetricFamily) string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n")
	for _, f := range families {
		labels := ""
		for _, pair := range f.GetMetric()[0].GetLabel() {
			if name := pair.GetName(); name != "node" {
				var values []string
				for _, m := range f.GetMetric() {
					values = append(values, value(m, name))
				}
				labels = "`" + name + "`: " + strings.Join(values, ", ")
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), labels, f.GetHelp())
	}
	return b.String()
}

func value(m *dto.Metric, label string) string {
	for _, pair := range m.GetLabel() {
		if pair.GetName() == label {
			return pair.GetValue()
		}
	}
	return ""
}

// Every metric carries the node, and none has more than one label beside it: the
// page has no room for more.
func TestMetricsHaveTheirLabels(t *testing.T) {
	for _, f := range everything(t) {
		for _, m := range f.GetMetric() {
			if value(m, "node") != "node-1" || len(m.GetLabel()) > 2 {
				t.Errorf("%s has the labels %v", f.GetName(), m.GetLabel())
			}
		}
	}
}

func TestNamesFollowTheConventions(t *testing.T) {
	problems, err := promlint.NewWithMetricFamilies(everything(t)).Lint()
	must(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
