package webseed

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// result is how a request ended.
type result uint8

const (
	complete   result = iota // what was asked for, be it a range or that nothing changed
	cut                      // ... but not to its end: the client left, or gets the rest from peers
	redirected               // to whoever has the content
	refused                  // by the gate
	notFound
	retired
	unreadable // the content cannot be read, or is not what was hashed
	otherwise  // a method that is no request for content
	results
)

// decision is what the gate made of a request.
type decision uint8

const (
	free     decision = iota // nothing is offered piece by piece
	lent                     // what it asks for is not out yet
	passed                   // it does not get it from peers
	heldBack                 // answered, but slowly
	turnedAway
	decisions
)

var (
	kindNames     = [...]string{Webseed: "webseed", Direct: "direct"}
	resultNames   = [results]string{"served", "cut", "redirected", "refused", "not_found", "retired", "unreadable", "other"}
	decisionNames = [decisions]string{"free", "lent", "passed", "held", "refused"}
)

// counters are what was asked and sent since the start. Counting is one atomic
// addition.
type counters struct {
	requests [len(kindNames)][results]atomic.Int64
	sent     [len(kindNames)]atomic.Int64 // bytes of content
}

var (
	requestsDesc = prometheus.NewDesc("dropseed_content_requests_total",
		"Requests for content over HTTP that have ended, by whom they are from and how they ended.", []string{"kind", "result"}, nil)
	gateDesc = prometheus.NewDesc("dropseed_webseed_gate_requests_total",
		"Requests to the webseed by what its gate made of them.", []string{"decision"}, nil)
	sentDescs = [...]*prometheus.Desc{Webseed: sentDesc("webseed"), Direct: sentDesc("direct")}
)

// sentDesc describes a metric of which the seeder has another part, with these words.
func sentDesc(kind string) *prometheus.Desc {
	return prometheus.NewDesc("dropseed_sent_bytes_total",
		"Bytes of content that were sent, by the way they went.", nil, prometheus.Labels{"kind": kind})
}

// Metrics returns what the server and its gate count, of all releases together.
func (s *Server) Metrics() prometheus.Collector { return metrics{s} }

type metrics struct{ server *Server }

func (m metrics) Describe(to chan<- *prometheus.Desc) {
	to <- requestsDesc
	to <- gateDesc
	for _, d := range sentDescs {
		to <- d
	}
}

func (m metrics) Collect(to chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n *atomic.Int64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n.Load()), labels...)
	}
	c := &m.server.counts
	for k, kind := range kindNames {
		for r, name := range resultNames {
			if Kind(k) == Webseed || result(r) != refused && result(r) != retired {
				counter(requestsDesc, &c.requests[k][r], kind, name)
			}
		}
		counter(sentDescs[k], &c.sent[k])
	}
	if g := m.server.o.Gate; g != nil {
		for d, name := range decisionNames {
			counter(gateDesc, &g.decided[d], name)
		}
	}
}
