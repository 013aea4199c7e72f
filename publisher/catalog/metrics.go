package catalog

import "github.com/prometheus/client_golang/prometheus"

var (
	releasesDesc = prometheus.NewDesc("dropseed_catalog_releases", "Releases by whether they are live or retired and still remembered.", []string{"state"}, nil)
	bytesDesc    = prometheus.NewDesc("dropseed_catalog_bytes", "Bytes of content of the live releases.", nil, nil)
)

// Metrics returns how much is published.
func (c *Catalog) Metrics() prometheus.Collector { return metrics{c} }

type metrics struct{ catalog *Catalog }

func (m metrics) Describe(to chan<- *prometheus.Desc) {
	to <- releasesDesc
	to <- bytesDesc
}

func (m metrics) Collect(to chan<- prometheus.Metric) {
	c := m.catalog
	var size int64
	c.mu.RLock()
	live, all := len(c.byName), len(c.byHash)
	for _, r := range c.byName {
		size += r.Size
	}
	c.mu.RUnlock()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(releasesDesc, float64(live), "live")
	gauge(releasesDesc, float64(all-live), "retired")
	gauge(bytesDesc, float64(size))
}
