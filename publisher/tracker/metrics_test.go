package tracker

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/anacrolix/torrent/types/infohash"
	"github.com/prometheus/client_golang/prometheus"
)

// gathered returns the tracker's metrics that are not 0, as name{label values}.
func gathered(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "dropseed_tracker_")
			for _, l := range m.GetLabel() { // in the order of their names
				name += " " + l.GetValue()
			}
			if v := m.GetCounter().GetValue() + m.GetGauge().GetValue(); v != 0 {
				all[name] = v
			}
		}
	}
	return all
}

func TestMetricsCountWhatWasAsked(t *testing.T) {
	known, retired := infohash.T{1}, infohash.T{2}
	tr := New(Options{Standing: func(ih infohash.T) Standing {
		switch ih {
		case known:
			return Tracked
		case retired:
			return Retired
		}
		return Unknown
	}})
	get := func(from, path string) {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.RemoteAddr = from
		tr.ServeHTTP(httptest.NewRecorder(), r)
	}
	hash := func(ih infohash.T) string {
		return "info_hash=" + url.QueryEscape(string(ih[:]))
	}
	rest := "&peer_id=-XX0000-000000000000&port=6881"
	get("203.0.113.1:1", "/announce?"+hash(known)+rest+"&left=1&event=started")
	get("203.0.113.2:1", "/announce?"+hash(known)+rest+"&left=0")
	get("[2001:db8::1]:1", "/announce?"+hash(known)+rest+"&left=1&event=paused&key=6")
	get("203.0.113.1:1", "/announce?"+hash(retired)+rest)
	get("203.0.113.1:1", "/announce?"+hash(infohash.T{3})+rest)
	get("203.0.113.1:1", "/announce?"+hash(known)+"&port=6881")
	get("203.0.113.1:1", "/announce?"+hash(known)+"&peer_id=-XX0000-000000000000&port=0")
	get("203.0.113.1:1", "/scrape?"+hash(known))
	get("203.0.113.1:1", "/scrape?info_hash=x")

	w := newUDPWorker(tr)
	from := netip.MustParseAddrPort("203.0.113.3:999")
	packet := udpAnnounce(w, known, from.Addr(), -1)
	w.handle(nil, packet, from, netip.Addr{})
	w.handle(nil, udpAnnounce(w, retired, from.Addr(), -1), from, netip.Addr{})
	w.handle(nil, packet[:20], from, netip.Addr{})
	w.handle(nil, packet, netip.MustParseAddrPort("203.0.113.4:999"), netip.Addr{})

	got := gathered(t, tr.Metrics())
	want := map[string]float64{
		"announces_total started 4 http": 1, "announces_total regular 4 http": 1, "announces_total paused 6 http": 1,
		"announces_total regular 4 udp":     1,
		"scrapes_total http":                1,
		"errors_total http retired_torrent": 1, "errors_total http unknown_torrent": 1, "errors_total http malformed": 2,
		"errors_total http bad_port": 1, "errors_total udp retired_torrent": 1, "errors_total udp malformed": 1,
		"errors_total udp bad_connection_id": 1,
		"swarms":                             1, "peers seeder": 1, "peers leecher": 3, "addresses": 4,
	}
	for name, n := range want {
		if got[name] != n {
			t.Errorf("%s is %v, want %v", name, got[name], n)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("counted besides: %v", got)
	}
}
