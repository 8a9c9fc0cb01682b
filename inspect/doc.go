// Package inspect shows what a node does: to people and programs over HTTP, and
// to Prometheus.
//
// [Handler] serves a page and its JSON. [Metrics] counts what a Consumer does, as
// its [metafora.Observer]; [NewCollector] measures a node when it is scraped.
// Package inspect/etcdmetrics has the metrics of the etcd backend. They are all
// collectors for a registry of the caller's:
//
//	metrics := inspect.NewMetrics(coord.Name())
//	consumer, err := metafora.NewConsumer(coord, handler, balancer, metafora.WithObserver(metrics))
//	...
//	registry := prometheus.NewRegistry()
//	registry.MustRegister(metrics, inspect.NewCollector(consumer, coord), etcdmetrics.NewCollector(coord))
//
//	mux := http.NewServeMux()
//	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
//	mux.Handle("/metafora/", http.StripPrefix("/metafora", inspect.Handler(consumer)))
//
// The page docs/inspect.md lists all metrics. Nothing here asks who is there:
// see [Handler].
package inspect
