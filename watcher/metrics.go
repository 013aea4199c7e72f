package watcher

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// counters are what listing brought since the start.
type counters struct {
	listings atomic.Int64 // of everything, that worked
	failures atomic.Int64 // of everything or of a tree
	last     atomic.Int64 // when everything was last listed without an error; Unix time in ns, 0: never
	nanos    atomic.Int64 // that took
}

// listed notes how a listing ended.
func (c *counters) listed(r result) {
	switch {
	case r.err != nil:
		c.failures.Add(1)
	case r.tree == nil:
		c.listings.Add(1)
		c.nanos.Store(int64(r.took))
		c.last.Store(time.Now().UnixNano())
	}
}

var (
	listingsDesc = prometheus.NewDesc("dropseed_source_listings_total", "Listings of the whole source that worked.", nil, nil)
	failuresDesc = prometheus.NewDesc("dropseed_source_listing_failures_total", "Listings of the source, or of a tree of it, that failed.", nil, nil)
	lastDesc     = prometheus.NewDesc("dropseed_source_last_listing_timestamp_seconds",
		"When the whole source was last listed without an error; 0: never.", nil, nil)
	tookDesc = prometheus.NewDesc("dropseed_source_last_listing_duration_seconds", "How long that listing took.", nil, nil)
)

// Metrics returns how listing goes, as metrics without a label for the source.
func (w *Watcher) Metrics() prometheus.Collector { return metrics{w} }

type metrics struct{ watcher *Watcher }

func (m metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{listingsDesc, failuresDesc, lastDesc, tookDesc} {
		to <- d
	}
}

func (m metrics) Collect(to chan<- prometheus.Metric) {
	c := &m.watcher.counts
	counter := func(d *prometheus.Desc, v int64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	seconds := func(d *prometheus.Desc, nanos int64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(nanos)/1e9)
	}
	counter(listingsDesc, c.listings.Load())
	counter(failuresDesc, c.failures.Load())
	seconds(lastDesc, c.last.Load())
	seconds(tookDesc, c.nanos.Load())
}
