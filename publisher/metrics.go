package publisher

import (
	"context"
	"errors"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dropseed/watcher"
)

// counters are what happened to the trees of one source since the start.
type counters struct {
	hashed  atomic.Int64 // trees
	bytes   atomic.Int64 // hashed, but for what is being hashed
	nanos   atomic.Int64 // spent hashing, of all trees together
	changed atomic.Int64 // failures of trees that are not any more what was reported
	failed  atomic.Int64 // other failures
}

// failure counts an attempt to publish or retire a tree that failed.
func (c *counters) failure(err error) {
	switch {
	case errors.Is(err, context.Canceled): // it was told to end
	case errors.Is(err, watcher.ErrChanged) || errors.Is(err, fs.ErrNotExist):
		c.changed.Add(1)
	default:
		c.failed.Add(1)
	}
}

// hashing notes what became of hashing a tree.
func (c *counters) hashing(began time.Time, err error) {
	c.nanos.Add(int64(time.Since(began)))
	if err == nil {
		c.hashed.Add(1)
	}
}

var (
	hashedDesc   = prometheus.NewDesc("dropseed_hashed_trees_total", "Trees that were hashed to the end.", []string{"source"}, nil)
	bytesDesc    = prometheus.NewDesc("dropseed_hashed_bytes_total", "Bytes of content that were read and hashed.", []string{"source"}, nil)
	secondsDesc  = prometheus.NewDesc("dropseed_hashing_seconds_total", "Time that hashing took, added up over trees.", []string{"source"}, nil)
	failuresDesc = prometheus.NewDesc("dropseed_publish_failures_total",
		"Attempts to publish or retire a tree that failed: it had changed since it was listed, or an error. They are repeated.", []string{"source", "reason"}, nil)
)

// Metrics returns what the publisher counts, by source.
func (p *Publisher) Metrics() prometheus.Collector { return metrics{p} }

type metrics struct{ publisher *Publisher }

func (m metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{hashedDesc, bytesDesc, secondsDesc, failuresDesc} {
		to <- d
	}
}

func (m metrics) Collect(to chan<- prometheus.Metric) {
	p := m.publisher
	bytes := make(map[string]int64)
	p.mu.Lock()
	for name, l := range p.lanes {
		bytes[name] = l.counts.bytes.Load()
	}
	for _, t := range p.entries {
		if t.reading {
			bytes[t.source] += t.done.Load()
		}
	}
	p.mu.Unlock()
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	for name, l := range p.lanes {
		c := &l.counts
		counter(hashedDesc, float64(c.hashed.Load()), name)
		counter(bytesDesc, float64(bytes[name]), name)
		counter(secondsDesc, time.Duration(c.nanos.Load()).Seconds(), name)
		counter(failuresDesc, float64(c.changed.Load()), name, "changed")
		counter(failuresDesc, float64(c.failed.Load()), name, "error")
	}
}
