package notify

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// outcome is what came of telling a target.
type outcome struct{ by, result string }

const (
	resultDelivered = "delivered"
	resultFailed    = "failed"    // is tried again
	resultAbandoned = "abandoned" // after many failures, or because nothing is wanted
	resultDropped   = "dropped"   // because too many wait
)

var (
	deliveriesDesc = prometheus.NewDesc("dropseed_notify_deliveries_total",
		"Attempts to tell of an event, by whether over HTTP or by a command, and by what came of it.", []string{"by", "result"}, nil)
	queueDesc = prometheus.NewDesc("dropseed_notify_queue_length",
		"Events that a URL or the command is still to be told of.", nil, nil)
	oldestDesc = prometheus.NewDesc("dropseed_notify_oldest_age_seconds",
		"Since when the oldest of these is waiting; 0: there is none.", nil, nil)
)

// Metrics returns how many were told, and how many are still to be.
func (n *Notifier) Metrics() prometheus.Collector { return metrics{n} }

type metrics struct{ n *Notifier }

func (m metrics) Describe(to chan<- *prometheus.Desc) {
	to <- deliveriesDesc
	to <- queueDesc
	to <- oldestDesc
}

func (m metrics) Collect(to chan<- prometheus.Metric) {
	counts := make(map[outcome]int64)
	length, oldest := 0, time.Time{}
	see := func(d *delivery) {
		if oldest.IsZero() || d.At.Before(oldest) {
			oldest = d.At
		}
	}
	m.n.mu.Lock()
	for _, t := range m.n.targets {
		for _, result := range []string{resultDelivered, resultFailed, resultAbandoned, resultDropped} {
			o := outcome{t.by, result}
			counts[o] = m.n.count[o]
		}
		length += len(t.queue) + len(t.late)
		if len(t.queue) > 0 {
			see(t.queue[0])
		}
		for _, d := range t.late {
			see(d)
		}
	}
	m.n.mu.Unlock()
	for o, c := range counts {
		to <- prometheus.MustNewConstMetric(deliveriesDesc, prometheus.CounterValue, float64(c), o.by, o.result)
	}
	to <- prometheus.MustNewConstMetric(queueDesc, prometheus.GaugeValue, float64(length))
	age := 0.0
	if !oldest.IsZero() {
		age = max(0, time.Since(oldest).Seconds())
	}
	to <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, age)
}
