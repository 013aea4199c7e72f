package seeder

import (
	"testing"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
	"github.com/prometheus/client_golang/prometheus"

	"dropseed/publisher/peerwire"
	"dropseed/publisher/torrentfile"
)

// gathered returns the metrics that are not 0, as "name label".
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
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			if v := m.GetCounter().GetValue() + m.GetGauge().GetValue(); v != 0 {
				all[name] = v
			}
		}
	}
	return all
}

func TestMetricsCountWhatPeersGet(t *testing.T) {
	o := newOrigin(t, t.TempDir(), func(o *Options) { o.Limits.PerAddress, o.Limits.PerRelease = 2, 1 })
	o.write(t, "a", random(1<<20, 1))
	r := o.publish(t, "a", torrentfile.Options{})
	l := mustConnect(t, o.addr, r.InfoHash, everything)
	l.download(t, r, 10)
	l.send(t, peerwire.AppendIndex(nil, peerwire.Have, 0))
	for _, ih := range []infohash.T{r.InfoHash, {1}} {
		if _, err := connect(t, o.addr, ih, everything); err == nil {
			t.Error("a connection was let in that should be refused")
		}
	}
	want := map[string]float64{
		"dropseed_peers_connected": 1, "dropseed_peer_connections_total incoming": 1,
		"dropseed_peer_connections_refused_total release_limit": 1, "dropseed_peer_connections_refused_total not_published": 1,
		"dropseed_sent_bytes_total peers": float64(r.Size), "dropseed_gained_bytes_total": float64(r.PieceLength),
	}
	// What is counted runs a little behind what the peer got.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		got, ok := gathered(t, o.seeder.Metrics()), true
		for name, n := range want {
			ok = ok && got[name] == n
		}
		if ok && len(got) == len(want) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
	if sent := o.seeder.Totals(r.InfoHash).Sent; float64(sent) != want["dropseed_sent_bytes_total peers"] {
		t.Errorf("the release's total is %d bytes, the metric's %v", sent, want["dropseed_sent_bytes_total peers"])
	}
}
