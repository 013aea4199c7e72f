package main

import (
	"log/slog"
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"dropseed/webseed/site"
)

// newMetrics returns the handler of /metrics: what the components count, with
// the source where there is one of each. There are no labels for releases and
// peers, of which there may be any number.
func (s *server) newMetrics() http.Handler {
	all := prometheus.NewRegistry()
	all.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		serverMetrics{s}, s.catalog.Metrics(), s.publisher.Metrics(), s.tracker.Metrics(), s.seeder.Metrics(),
		s.webseed.Metrics(), s.budget.Metrics(),
	)
	if s.disk != nil {
		all.MustRegister(s.disk.Metrics())
	}
	if s.notify != nil {
		all.MustRegister(s.notify.Metrics())
	}
	for name, src := range s.sources {
		of := prometheus.WrapRegistererWith(prometheus.Labels{"source": name}, all)
		of.MustRegister(src.watcher.Metrics())
		if src.bucket != nil {
			of.MustRegister(src.bucket.Metrics(), src.cache.Metrics())
		}
	}
	handler := promhttp.HandlerFor(all, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn)})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead { // promhttp answers any, and anybody's OPTIONS may come here
			w.Header().Set("Allow", "GET, HEAD")
			s.site.Fail(w, r, http.StatusMethodNotAllowed, "Only GET and HEAD are allowed.")
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// serverMetrics are the figures that no component knows alone.
type serverMetrics struct{ server *server }

var (
	buildDesc = prometheus.NewDesc("dropseed_build_info", "What is running; the value is always 1.", nil,
		prometheus.Labels{"version": version, "goversion": runtime.Version()})
	pendingDesc = prometheus.NewDesc("dropseed_pending_trees",
		"Trees that are not published, as /api/v1/pending lists them, by state.", []string{"state"}, nil)
	connectionsDesc = prometheus.NewDesc("dropseed_http_connections", "HTTP connections that are open now.", nil, nil)
	acceptedDesc    = prometheus.NewDesc("dropseed_http_connections_total", "HTTP connections that were opened.", nil, nil)
	refusedDesc     = prometheus.NewDesc("dropseed_http_connections_refused_total",
		"HTTP connections that were closed at once since there were http.max_connections already.", nil, nil)
	copiesDesc = prometheus.NewDesc("dropseed_copies",
		"Bytes sent divided by size, of all releases together of which anything was sent, over restarts: as in /api/v1/stats.", nil, nil)
	mostCopiesDesc = prometheus.NewDesc("dropseed_release_copies_max",
		"Bytes sent over BitTorrent and by the webseed since the start divided by size, of the live release of which that is the most.", nil, nil)
)

// pendingStates are all that a tree can be in.
var pendingStates = []site.State{site.Settling, site.Queued, site.Hashing, site.Failed, site.Problem}

// Describe implements prometheus.Collector.
func (m serverMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{buildDesc, pendingDesc, connectionsDesc, acceptedDesc, refusedDesc, copiesDesc, mostCopiesDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (m serverMetrics) Collect(to chan<- prometheus.Metric) {
	s := m.server
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v int64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	gauge(buildDesc, 1)
	pending := make(map[site.State]int)
	for _, p := range s.pending() {
		pending[p.State]++
	}
	for _, state := range pendingStates {
		gauge(pendingDesc, float64(pending[state]), string(state))
	}
	gauge(connectionsDesc, float64(s.connections.open.Load()))
	counter(acceptedDesc, s.connections.accepted.Load())
	counter(refusedDesc, s.connections.refused.Load())
	gauge(copiesDesc, s.history.Now().Copies)
	gauge(mostCopiesDesc, s.mostCopies())
}

// mostCopies returns how often the live release was sent that was sent the most
// since the start, direct downloads aside.
func (s *server) mostCopies() (most float64) {
	for _, r := range s.catalog.Live() {
		if c := s.countedNow(r.InfoHash); r.Size > 0 {
			most = max(most, float64(c.Peers+c.Webseed)/float64(r.Size))
		}
	}
	return most
}
