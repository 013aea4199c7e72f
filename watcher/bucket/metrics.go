package bucket

import "github.com/prometheus/client_golang/prometheus"

var (
	requestsDesc = prometheus.NewDesc("dropseed_s3_requests_total",
		"Requests to the bucket's server, those made again included, by what they ask for.", []string{"kind"}, nil)
	failuresDesc = prometheus.NewDesc("dropseed_s3_failures_total",
		"Of these requests, those without an answer or with a status of 500 or more.", nil, nil)
	bytesDesc = prometheus.NewDesc("dropseed_s3_received_bytes_total",
		"Bytes of content received from the bucket's server.", nil, nil)
)

// Metrics returns what Usage does, as metrics without a label for the bucket.
func (b *Bucket) Metrics() prometheus.Collector { return metrics{b} }

type metrics struct{ bucket *Bucket }

func (m metrics) Describe(to chan<- *prometheus.Desc) {
	to <- requestsDesc
	to <- failuresDesc
	to <- bytesDesc
}

func (m metrics) Collect(to chan<- prometheus.Metric) {
	u := m.bucket.Usage()
	for _, r := range []struct {
		kind string
		n    int64
	}{{"list", u.Lists}, {"head", u.Heads}, {"get", u.Gets}, {"other", u.Others}} {
		to <- prometheus.MustNewConstMetric(requestsDesc, prometheus.CounterValue, float64(r.n), r.kind)
	}
	to <- prometheus.MustNewConstMetric(failuresDesc, prometheus.CounterValue, float64(u.Failures))
	to <- prometheus.MustNewConstMetric(bytesDesc, prometheus.CounterValue, float64(u.Bytes))
}
