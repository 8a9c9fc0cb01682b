package inspect

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/metafora-go/metafora"
)

const namespace = "metafora"

// Metrics counts and times what a Consumer does. It is the Consumer's Observer
// and a collector for a Prometheus registry. It is safe for concurrent use.
type Metrics struct {
	group // all of the below

	claims        *prometheus.CounterVec // by result
	claimDuration prometheus.Histogram
	startDelay    prometheus.Histogram
	runDuration   *prometheus.HistogramVec // by result
	refusals      prometheus.Counter
	done          prometheus.Counter
	released      prometheus.Counter
	lost          *prometheus.CounterVec // by cause
	panics        prometheus.Counter
	rounds        prometheus.Counter
	balancedAway  prometheus.Counter
}

var (
	_ metafora.Observer    = (*Metrics)(nil)
	_ prometheus.Collector = (*Metrics)(nil)
)

// The labels of results and causes.
const (
	resultDone     = "done"
	resultReleased = "released"
	causeLease     = "lease"
	causeOwner     = "owner"
)

// NewMetrics returns the Metrics of a node, whose name they carry as the label
// "node", for [metafora.WithObserver] and for a registry. A Consumer that has
// another Observer as well takes both as [Observers].
func NewMetrics(node string) *Metrics {
	m := &Metrics{}
	labels := nodeLabel(node)
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels})
		m.add(c)
		return c
	}
	// Counters that are there from the start tell 0 from unknown.
	counters := func(name, help, label string, values ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels}, []string{label})
		for _, v := range values {
			c.WithLabelValues(v)
		}
		m.add(c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, ConstLabels: labels, Buckets: buckets}
	}

	m.claims = counters("claims_total", "Attempts to claim a task, by how they ended: won; lost to another owner; gone, the task being no longer there; failed at the broker.", "result",
		metafora.ClaimWon.String(), metafora.ClaimLost.String(), metafora.ClaimGone.String(), metafora.ClaimFailed.String())
	m.claimDuration = prometheus.NewHistogram(histogram("claim_duration_seconds", "How long the broker took to grant a claim.",
		prometheus.ExponentialBuckets(0.0005, 2, 15)))
	m.startDelay = prometheus.NewHistogram(histogram("task_start_delay_seconds", "Time from a task's announcement to this node until its handler ran here, waiting at the balancer's wish included.",
		prometheus.ExponentialBuckets(0.001, 4, 12)))
	m.runDuration = prometheus.NewHistogramVec(histogram("task_run_duration_seconds", "How long handlers ran, by what they returned: done, panics included; or released.",
		[]float64{0.01, 0.1, 1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600}), []string{"result"})
	m.runDuration.WithLabelValues(resultDone)
	m.runDuration.WithLabelValues(resultReleased)
	m.add(m.claimDuration, m.startDelay, m.runDuration)
	m.refusals = counter("balancer_refusals_total", "Times that the balancer put a task off.")
	m.done = counter("tasks_done_total", "Tasks that were done here, as acknowledged by the broker.")
	m.released = counter("tasks_released_total", "Tasks that were released here, as acknowledged by the broker.")
	m.lost = counters("tasks_lost_total", "Claims lost while their handlers ran, by cause: lease, which was not renewed in time; owner, another one or the task's deletion.", "cause",
		causeLease, causeOwner)
	m.panics = counter("handler_panics_total", "Panics of handlers and handler functions.")
	m.rounds = counter("balance_rounds_total", "Balance rounds.")
	m.balancedAway = counter("balance_stopped_tasks_total", "Tasks that balance rounds asked to stop.")
	return m
}

// Refused implements [metafora.Observer].
func (m *Metrics) Refused(metafora.Task, time.Time) { m.refusals.Inc() }

// Claimed implements [metafora.Observer].
func (m *Metrics) Claimed(_ metafora.Task, result metafora.ClaimResult, took time.Duration) {
	m.claims.WithLabelValues(result.String()).Inc()
	if result == metafora.ClaimWon {
		m.claimDuration.Observe(took.Seconds())
	}
}

// Running implements [metafora.Observer].
func (m *Metrics) Running(_ metafora.Claim, sinceAnnounced time.Duration) {
	m.startDelay.Observe(sinceAnnounced.Seconds())
}

// Returned implements [metafora.Observer].
func (m *Metrics) Returned(_ metafora.Claim, done bool, ran time.Duration) {
	result := resultReleased
	if done {
		result = resultDone
	}
	m.runDuration.WithLabelValues(result).Observe(ran.Seconds())
}

// Panicked implements [metafora.Observer].
func (m *Metrics) Panicked(metafora.Claim, any, []byte) { m.panics.Inc() }

// Lost implements [metafora.Observer].
func (m *Metrics) Lost(_ metafora.Claim, cause error) {
	label := causeOwner
	if errors.Is(cause, metafora.ErrLeaseLost) {
		label = causeLease
	}
	m.lost.WithLabelValues(label).Inc()
}

// Done implements [metafora.Observer].
func (m *Metrics) Done(metafora.Claim) { m.done.Inc() }

// Released implements [metafora.Observer].
func (m *Metrics) Released(metafora.Claim) { m.released.Inc() }

// Balanced implements [metafora.Observer].
func (m *Metrics) Balanced(stopped int) {
	m.rounds.Inc()
	m.balancedAway.Add(float64(stopped))
}
