package webseed

import (
	"maps"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dropseed/watcher"
)

// gathered returns the metrics that are not 0, as "name labels".
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
			if v := m.GetCounter().GetValue(); v != 0 {
				all[name] = v
			}
		}
	}
	return all
}

func TestMetricsCountHowRequestsEnd(t *testing.T) {
	f := newFixture(t)
	f.server.o.Gate = newGate(&fakeSwarm{})
	rel := f.publish(t, map[string]string{"a": "content"})
	old := f.publish(t, map[string]string{"b": "older content"})
	if err := f.catalog.Retire(old.InfoHash); err != nil {
		t.Fatal(err)
	}
	s := f.start(t)
	path := WebseedURL("", rel)
	get(t, s, "GET", path)
	get(t, s, "GET", "/files/a")
	get(t, s, "GET", "/files/a", "Range: bytes=1-2")
	get(t, s, "HEAD", "/files/a")
	get(t, s, "GET", "/files/nothing")
	get(t, s, "OPTIONS", path)
	get(t, s, "GET", WebseedURL("", old))
	get(t, s, "GET", "/webseed/x/a")
	f.fail(watcher.ErrChanged)
	get(t, s, "GET", "/files/a")

	want := map[string]float64{
		"dropseed_content_requests_total webseed served": 1, "dropseed_content_requests_total direct served": 3,
		"dropseed_content_requests_total direct not_found": 1, "dropseed_content_requests_total webseed not_found": 1,
		"dropseed_content_requests_total webseed other": 1, "dropseed_content_requests_total webseed retired": 1,
		"dropseed_content_requests_total direct unreadable": 1,
		"dropseed_webseed_gate_requests_total lent":         1,
		"dropseed_sent_bytes_total webseed":                 7, "dropseed_sent_bytes_total direct": 9,
	}
	expect(t, f, want)
}

func TestMetricsCountWhatTheGateRefuses(t *testing.T) {
	f := newFixture(t)
	f.server.o.Gate = newGate(&fakeSwarm{out: true, peer: true, gained: time.Now().Add(time.Hour)})
	rel := f.publish(t, map[string]string{"a": "content"})
	if _, err := try(f.start(t), "GET", WebseedURL("", rel)); err == nil {
		t.Error("the gate let a request pass")
	}
	expect(t, f, map[string]float64{
		"dropseed_content_requests_total webseed refused": 1, "dropseed_webseed_gate_requests_total refused": 1,
	})
}

// expect waits for metrics: a request is counted when it has ended, which its
// client does not wait for.
func expect(t *testing.T, f *fixture, want map[string]float64) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		got := gathered(t, f.server.Metrics())
		if maps.Equal(got, want) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got  %v\nwant %v", got, want)
		}
	}
}

func TestMetricsCountWhatTheGateLetsPass(t *testing.T) {
	swarm := &fakeSwarm{plain: true}
	g := newGate(swarm)
	ask(g, 1)
	swarm.plain, swarm.out, swarm.peer = false, true, true // it makes no progress
	ask(g, 1)
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("User-Agent", "aria2/1.36.0")
	g.admit(r, gated, 0, 1)
	got := gathered(t, New(Options{Gate: g}).Metrics())
	for _, d := range []string{"free", "passed", "held"} {
		if name := "dropseed_webseed_gate_requests_total " + d; got[name] != 1 {
			t.Errorf("%s is %v, want 1", name, got[name])
		}
	}
}
