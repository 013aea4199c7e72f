package budget

import "github.com/prometheus/client_golang/prometheus"

var kindNames = [kinds]string{Peers: "peers", Webseed: "webseed", Direct: "direct"}

var (
	waitingDesc = prometheus.NewDesc("dropseed_upload_waiting",
		"Connections that wait for their share of the upload rate now.", []string{"kind"}, nil)
	limitDesc = prometheus.NewDesc("dropseed_upload_limit_bytes_per_second",
		"The limit of everything that is sent together; 0: unlimited.", nil, nil)
)

// Metrics returns what the budget shares out, and how many wait for it.
func (b *Budget) Metrics() prometheus.Collector { return metrics{b} }

type metrics struct{ budget *Budget }

func (m metrics) Describe(to chan<- *prometheus.Desc) {
	to <- waitingDesc
	to <- limitDesc
}

func (m metrics) Collect(to chan<- prometheus.Metric) {
	b := m.budget
	var waiting [kinds]int
	b.mu.Lock()
	for _, n := range b.root.children {
		waiting[n.key.(Kind)] = n.waiting
	}
	b.mu.Unlock()
	for k, name := range kindNames {
		to <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(waiting[k]), name)
	}
	to <- prometheus.MustNewConstMetric(limitDesc, prometheus.GaugeValue, b.Rate())
}
