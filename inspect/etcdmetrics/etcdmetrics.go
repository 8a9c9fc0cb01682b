// Package etcdmetrics has the Prometheus metrics of the etcd backend. It is apart
// from package inspect so that a program without etcd links none of it.
package etcdmetrics

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/metafora-go/metafora/backend/etcd"
)

// NewCollector returns a collector of c's [etcd.Stats], for a registry of the
// caller's. It takes a snapshot for each scrape and asks etcd nothing. Its
// metrics carry the node's name as the label "node".
func NewCollector(c *etcd.Coordinator) prometheus.Collector {
	labels := prometheus.Labels{"node": c.Name()}
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName("metafora", "etcd", name), help, nil, labels)
	}
	var figures []figure
	gauge := func(name, help string, value func(etcd.Stats) float64) {
		figures = append(figures, figure{desc(name, help), prometheus.GaugeValue, value})
	}
	count := func(name, help string, value func(etcd.Stats) int) {
		gauge(name, help, func(s etcd.Stats) float64 { return float64(value(s)) })
	}
	counter := func(name, help string, value func(etcd.Stats) int64) {
		figures = append(figures, figure{desc(name, help), prometheus.CounterValue, func(s etcd.Stats) float64 { return float64(value(s)) }})
	}

	gauge("lease_renewal_age_seconds", "Time since the last answered lease renewal was sent.",
		func(s etcd.Stats) float64 { return s.RenewalAge.Seconds() })
	counter("lease_renewals_total", "Lease renewals that etcd answered.", func(s etcd.Stats) int64 { return s.Renewals })
	counter("lease_renewal_failures_total", "Lease renewals that etcd did not answer.", func(s etcd.Stats) int64 { return s.RenewalFailures })
	counter("leases_lost_total", "Leases that were lost, with all claims on them.", func(s etcd.Stats) int64 { return s.LeasesLost })
	count("index_tasks", "Tasks in the node's index, which is all tasks of the namespace.", func(s etcd.Stats) int { return s.Tasks })
	count("index_owned_tasks", "Tasks in the node's index that a node owns.", func(s etcd.Stats) int { return s.Owned })
	count("index_waiting_tasks", "Tasks in the node's index that are still to be announced to it.", func(s etcd.Stats) int { return s.Waiting })
	count("stray_claims", "Claims that were lost and whose handlers have not returned.", func(s etcd.Stats) int { return s.Strays })
	counter("lists_total", "Complete listings of a prefix, three at the start.", func(s etcd.Stats) int64 { return s.Lists })
	counter("index_repairs_total", "Keys that a listing found the watch to have missed: other than 0, etcd has lost events.", func(s etcd.Stats) int64 { return s.Repairs })
	counter("watch_restarts_total", "Watches that ended and were begun again.", func(s etcd.Stats) int64 { return s.WatchRestarts })
	counter("watch_compactions_total", "Watches that ended because etcd had dropped the history they needed.", func(s etcd.Stats) int64 { return s.Compactions })
	counter("claims_refused_locally_total", "Claims refused from what the node knew, at no cost to etcd.", func(s etcd.Stats) int64 { return s.ClaimsRefused })
	counter("orphaned_claims_total", "Claims that took effect late, with nobody waiting for them, and were released.", func(s etcd.Stats) int64 { return s.Orphans })
	counter("transaction_failures_total", "Group commits that etcd did not answer or refused.", func(s etcd.Stats) int64 { return s.TransactionFailures })
	return &collector{
		coord:   c,
		figures: figures,
		sizes:   desc("transaction_operations", "Writes in one group commit, such as claims and releases, those that failed included."),
	}
}

// figure is a metric that is one field of the Stats.
type figure struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(etcd.Stats) float64
}

type collector struct {
	coord   *etcd.Coordinator
	figures []figure
	sizes   *prometheus.Desc
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range c.figures {
		ch <- f.desc
	}
	ch <- c.sizes
}

// Collect implements [prometheus.Collector].
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.coord.Stats()
	for _, f := range c.figures {
		ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(s))
	}
	buckets, count := cumulative(s.GroupSizes)
	ch <- prometheus.MustNewConstHistogram(c.sizes, count, float64(s.Operations), buckets)
}

// cumulative returns a histogram as Prometheus has them, where each bucket counts
// what is in the smaller ones, too, and the number of all.
func cumulative(sizes map[int]int64) (buckets map[float64]uint64, count uint64) {
	buckets = make(map[float64]uint64, len(sizes))
	for _, bound := range slices.Sorted(maps.Keys(sizes)) {
		count += uint64(sizes[bound])
		buckets[float64(bound)] = count
	}
	return buckets, count
}
