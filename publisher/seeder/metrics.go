package seeder

import (
	"errors"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// refusal is why a connection did not become a peer's.
type refusal uint8

const (
	overall refusal = iota // all places are taken
	ofAddress
	ofRelease
	unpublished
	noHandshake // or not one of ours
	refusals
)

var refusalNames = [refusals]string{"connection_limit", "address_limit", "release_limit", "not_published", "handshake"}

// direction is who opened a connection.
type direction uint8

const (
	incoming direction = iota
	outgoing
	directions
)

var directionNames = [directions]string{"incoming", "outgoing"}

// counters are what happened since the start. Counting is one atomic addition.
type counters struct {
	joined  [directions]atomic.Int64 // connections that became peers'
	refused [refusals]atomic.Int64
	dials   atomic.Int64 // attempts
	offered atomic.Int64 // pieces, over BitTorrent
	lent    atomic.Int64 // pieces, over HTTP
	sent    atomic.Int64 // bytes of content
	gained  atomic.Int64 // bytes, see Totals
}

// notJoined counts why a connection that was shaken hands on did not become a peer's.
func (c *counters) notJoined(err error) {
	switch {
	case errors.Is(err, errFull):
		c.refused[ofRelease].Add(1)
	case errors.Is(err, errRetired):
		c.refused[unpublished].Add(1)
	}
}

var (
	connectedDesc = prometheus.NewDesc("dropseed_peers_connected", "BitTorrent peers that are connected now.", nil, nil)
	joinedDesc    = prometheus.NewDesc("dropseed_peer_connections_total",
		"Connections that became a BitTorrent peer's, by who opened them.", []string{"direction"}, nil)
	refusedDesc = prometheus.NewDesc("dropseed_peer_connections_refused_total",
		"Connections that did not become a BitTorrent peer's, by reason.", []string{"reason"}, nil)
	dialsDesc  = prometheus.NewDesc("dropseed_peer_dials_total", "Attempts to connect to peers that announced themselves.", nil, nil)
	offersDesc = prometheus.NewDesc("dropseed_offered_pieces_total",
		"Pieces that were offered, over BitTorrent (peers) or by sending them over HTTP first (webseed).", []string{"kind"}, nil)
	sentDesc = prometheus.NewDesc("dropseed_sent_bytes_total",
		"Bytes of content that were sent, by the way they went.", nil, prometheus.Labels{"kind": "peers"})
	gainedDesc = prometheus.NewDesc("dropseed_gained_bytes_total",
		"Bytes of the pieces that connected peers said they got, from here or from each other.", nil, nil)
)

// Metrics returns what the seeder counts, of all releases together. The bytes it
// sent are those of kind peers.
func (s *Seeder) Metrics() prometheus.Collector { return metrics{s} }

type metrics struct{ seeder *Seeder }

func (m metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{connectedDesc, joinedDesc, refusedDesc, dialsDesc, offersDesc, sentDesc, gainedDesc} {
		to <- d
	}
}

func (m metrics) Collect(to chan<- prometheus.Metric) {
	s := m.seeder
	counter := func(d *prometheus.Desc, n *atomic.Int64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n.Load()), labels...)
	}
	s.mu.Lock()
	connected := len(s.peers)
	s.mu.Unlock()
	to <- prometheus.MustNewConstMetric(connectedDesc, prometheus.GaugeValue, float64(connected))
	for d, name := range directionNames {
		counter(joinedDesc, &s.counts.joined[d], name)
	}
	for r, name := range refusalNames {
		counter(refusedDesc, &s.counts.refused[r], name)
	}
	counter(dialsDesc, &s.counts.dials)
	counter(offersDesc, &s.counts.offered, "peers")
	counter(offersDesc, &s.counts.lent, "webseed")
	counter(sentDesc, &s.counts.sent)
	counter(gainedDesc, &s.counts.gained)
}
