package main

import (
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// newMetrics returns the handler of /metrics: what the components count, with
// the source where there is one of each.
func (s *server) newMetrics() http.Handler {
	all := prometheus.NewRegistry()
	all.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if s.disk != nil {
		all.MustRegister(s.disk.Metrics())
	}
	if s.notify != nil {
		all.MustRegister(s.notify.Metrics())
	}
	for name, src := range s.sources {
		if src.bucket != nil {
			prometheus.WrapRegistererWith(prometheus.Labels{"source": name}, all).MustRegister(src.bucket.Metrics(), src.cache.Metrics())
		}
	}
	return promhttp.HandlerFor(all, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn)})
}
