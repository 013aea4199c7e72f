package cached

import "github.com/prometheus/client_golang/prometheus"

var (
	blocksDesc = prometheus.NewDesc("dropseed_cache_blocks_total",
		"Blocks of content that were asked for, by where they were found.", []string{"found"}, nil)
	diskDesc     = prometheus.NewDesc("dropseed_cache_disk_bytes", "Bytes of blocks kept in the cache folder.", nil, nil)
	diskFailDesc = prometheus.NewDesc("dropseed_cache_disk_failures_total",
		"Blocks that could not be written to the cache folder, or were damaged when they were read.", []string{"what"}, nil)
	memoryDesc = prometheus.NewDesc("dropseed_cache_memory_bytes", "Bytes of blocks kept in memory.", nil, nil)
)

// Metrics returns what Usage does, and the bytes that are kept, as metrics without
// a label for the source.
func (c *Cache) Metrics() prometheus.Collector { return cacheMetrics{c} }

// Metrics returns the bytes that are kept, and what failed, as metrics.
func (d *Disk) Metrics() prometheus.Collector { return diskMetrics{d} }

type diskMetrics struct{ disk *Disk }

func (m diskMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- diskDesc
	to <- diskFailDesc
}

func (m diskMetrics) Collect(to chan<- prometheus.Metric) {
	d := m.disk
	d.mu.Lock()
	size, unwritten, damaged := d.size, d.unwritten, d.damaged
	d.mu.Unlock()
	to <- prometheus.MustNewConstMetric(diskDesc, prometheus.GaugeValue, float64(size))
	to <- prometheus.MustNewConstMetric(diskFailDesc, prometheus.CounterValue, float64(unwritten), "write")
	to <- prometheus.MustNewConstMetric(diskFailDesc, prometheus.CounterValue, float64(damaged), "read")
}

type cacheMetrics struct{ cache *Cache }

func (m cacheMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- blocksDesc
	to <- memoryDesc
}

func (m cacheMetrics) Collect(to chan<- prometheus.Metric) {
	c := m.cache
	c.mu.Lock()
	u, size := c.usage, c.size
	c.mu.Unlock()
	for _, r := range []struct {
		found string
		n     int64
	}{{"memory", u.Memory}, {"disk", u.Disk}, {"source", u.Below}} {
		to <- prometheus.MustNewConstMetric(blocksDesc, prometheus.CounterValue, float64(r.n), r.found)
	}
	to <- prometheus.MustNewConstMetric(memoryDesc, prometheus.GaugeValue, float64(size))
}
