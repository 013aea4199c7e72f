package tracker

import (
	"net/netip"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// protocol is how a request came.
type protocol uint8

const (
	overHTTP protocol = iota
	overUDP
	overWeb // WebSocket
	protocols
)

// cause is why a request was not answered as it wished, for the figures.
type cause uint8

const (
	causeMalformed cause = iota
	causeUnknown
	causeRetired
	causePort
	causeAddress
	causeForwarded
	causeConnection // UDP; dropped without an answer
	causePeerID     // WebSocket: it is somebody else's
	causeMany       // WebSocket: no room
	causes
)

var (
	protocolNames = [protocols]string{"http", "udp", "websocket"}
	familyNames   = [...]string{"4", "6"}
	eventNames    = [...]string{eventNone: "regular", eventCompleted: "completed", eventStarted: "started", eventStopped: "stopped", eventPaused: "paused"}
	causeNames    = [causes]string{"malformed", "unknown_torrent", "retired_torrent", "bad_port", "bad_address", "forwarded_missing", "bad_connection_id", "peer_id_taken", "too_many"}
)

// counters are what was asked and answered since the start. Counting is one
// atomic addition.
type counters struct {
	announces [protocols][len(familyNames)][len(eventNames)]atomic.Uint64
	scrapes   [protocols]atomic.Uint64
	errors    [protocols][causes]atomic.Uint64
}

func (c *counters) announced(p protocol, seen netip.Addr, e event) {
	family := 0
	if seen.Is6() {
		family = 1
	}
	c.announces[p][family][e].Add(1)
}

func (c *counters) failed(p protocol, why cause) { c.errors[p][why].Add(1) }

var (
	announcesDesc = prometheus.NewDesc("dropseed_tracker_announces_total",
		"Announces that were answered, by protocol, address family of the client, and event.", []string{"protocol", "family", "event"}, nil)
	scrapesDesc = prometheus.NewDesc("dropseed_tracker_scrapes_total", "Scrapes that were answered, by protocol.", []string{"protocol"}, nil)
	errorsDesc  = prometheus.NewDesc("dropseed_tracker_errors_total",
		"Requests to the tracker that were refused or dropped, by protocol and reason.", []string{"protocol", "reason"}, nil)
	swarmsDesc = prometheus.NewDesc("dropseed_tracker_swarms", "Swarms with peers, or with a count of downloads that ended.", nil, nil)
	peersDesc  = prometheus.NewDesc("dropseed_tracker_peers",
		"Clients in all swarms by what they do in them, without our own seeder.", []string{"role"}, nil)
	addressesDesc = prometheus.NewDesc("dropseed_tracker_addresses", "Addresses in all swarms; a client may have one of each family.", nil, nil)
	noRoomDesc    = prometheus.NewDesc("dropseed_tracker_unrecorded_total",
		"Announces that were answered, but whose peer was not recorded for lack of room.", nil, nil)
)

// Metrics returns what the tracker counts. Collecting looks at every swarm, under
// one lock of many at a time.
func (t *Tracker) Metrics() prometheus.Collector { return metrics{t} }

type metrics struct{ tracker *Tracker }

func (m metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{announcesDesc, scrapesDesc, errorsDesc, swarmsDesc, peersDesc, addressesDesc, noRoomDesc} {
		to <- d
	}
}

func (m metrics) Collect(to chan<- prometheus.Metric) {
	t := m.tracker
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n int64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	for p, name := range protocolNames {
		for f, family := range familyNames {
			for e, event := range eventNames {
				if event == "paused" && protocol(p) != overHTTP {
					continue // the others have no such event
				}
				counter(announcesDesc, t.counts.announces[p][f][e].Load(), name, family, event)
			}
		}
		counter(scrapesDesc, t.counts.scrapes[p].Load(), name)
		for c, reason := range causeNames {
			counter(errorsDesc, t.counts.errors[p][c].Load(), name, reason)
		}
	}
	stats, all := t.Stats(), t.store.tally()
	gauge(swarmsDesc, int64(stats.Swarms))
	gauge(peersDesc, all.seeders, "seeder")
	gauge(peersDesc, all.leechers, "leecher")
	gauge(addressesDesc, int64(stats.Peers))
	counter(noRoomDesc, stats.PeersRefused)
}

// totals counts clients.
type totals struct{ seeders, leechers int64 }

// tally adds up all swarms.
func (st *store) tally() (all totals) {
	for i := range st.shards {
		sh := &st.shards[i]
		sh.mu.Lock()
		for _, s := range sh.swarms {
			all.seeders += int64(s.counts.seeders)
			all.leechers += int64(s.counts.leechers)
		}
		sh.mu.Unlock()
	}
	return all
}
