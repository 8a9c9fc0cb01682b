package inspect

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/metafora-go/metafora"
)

// NewCollector returns a collector that measures a node whenever it is scraped:
// its Consumer, and its Coordinator as far as that is a [metafora.LeaseHolder]
// and a [metafora.ClusterState]. It reads what they know already, at no cost to
// the broker. Its metrics carry the node's name as the label "node".
func NewCollector(c *metafora.Consumer, coord metafora.Coordinator) prometheus.Collector {
	labels := nodeLabel(c.Name())
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels}, value)
	}
	g := group{
		newTaskCounts(c, labels),
		gauge("node_start_time_seconds", "When the Consumer was started, in Unix time; 0 before.", func() float64 {
			return unixSeconds(c.Started())
		}),
		gauge("node_frozen", "1 while the node neither claims nor balances, else 0.", func() float64 { return oneIf(c.Frozen()) }),
		gauge("node_draining", "1 while the node gives up all its tasks or has done so, else 0.", func() float64 { return oneIf(c.Draining()) }),
	}
	if lease, ok := coord.(metafora.LeaseHolder); ok {
		g.add(gauge("lease_remaining_seconds", "Time until handlers lose their claims unless the lease is renewed, 0 without a lease.", func() float64 {
			return max(0, time.Until(lease.LeaseDeadline()).Seconds())
		}))
	}
	if cluster, ok := coord.(metafora.ClusterState); ok {
		g.add(
			gauge("cluster_nodes", "Live nodes of the cluster, as this node knows it.", func() float64 { return float64(len(cluster.Nodes())) }),
			gauge("node_claims", "Tasks that this node owns, judged by the broker.", func() float64 {
				return float64(cluster.NodeTaskCount(c.Name()))
			}),
		)
	}
	return g
}

// group is several collectors as one.
type group []prometheus.Collector

func (g *group) add(cs ...prometheus.Collector) { *g = append(*g, cs...) }

// Describe implements [prometheus.Collector].
func (g group) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range g {
		c.Describe(ch)
	}
}

// Collect implements [prometheus.Collector].
func (g group) Collect(ch chan<- prometheus.Metric) {
	for _, c := range g {
		c.Collect(ch)
	}
}

// taskCounts are the Consumer's counts, all of one moment.
type taskCounts struct {
	consumer *metafora.Consumer
	desc     *prometheus.Desc
}

func newTaskCounts(c *metafora.Consumer, labels prometheus.Labels) taskCounts {
	name := prometheus.BuildFQName(namespace, "", "tasks")
	return taskCounts{consumer: c, desc: prometheus.NewDesc(name,
		"Tasks of the node: running; settling, the broker being told how they ended; claiming; deferred, to be considered later.",
		[]string{"state"}, labels)}
}

// Describe implements [prometheus.Collector].
func (t taskCounts) Describe(ch chan<- *prometheus.Desc) { ch <- t.desc }

// Collect implements [prometheus.Collector].
func (t taskCounts) Collect(ch chan<- prometheus.Metric) {
	n := t.consumer.Counts()
	for _, state := range []struct {
		name  string
		count int
	}{
		{"running", n.Running},
		{"settling", n.Settling},
		{"claiming", n.Claiming},
		{"deferred", n.Deferred},
	} {
		ch <- prometheus.MustNewConstMetric(t.desc, prometheus.GaugeValue, float64(state.count), state.name)
	}
}

func nodeLabel(node string) prometheus.Labels { return prometheus.Labels{"node": node} }

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
