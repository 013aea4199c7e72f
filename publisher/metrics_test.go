package publisher

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestMetricsCountWhatIsHashedAndWhatFails(t *testing.T) {
	bubble(t, func(r *rig) {
		expect := func(when string, want map[string]float64) {
			t.Helper()
			registry := prometheus.NewPedanticRegistry()
			registry.MustRegister(r.Metrics())
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			got := make(map[string]float64)
			for _, f := range families {
				for _, m := range f.GetMetric() {
					name := f.GetName()
					for _, l := range m.GetLabel() {
						name += " " + l.GetValue()
					}
					if v := m.GetCounter().GetValue(); v != 0 && name != "dropseed_hashing_seconds_total a" {
						got[name] = v
					}
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: got %v, want %v", when, got, want)
			}
		}
		r.write("a", "f", 100_000)
		r.settle("a", "f")
		expect("one tree", map[string]float64{"dropseed_hashed_trees_total a": 1, "dropseed_hashed_bytes_total a": 100_000})

		r.mem["a"].FailReads(errors.New("broken"))
		r.write("a", "g", 10)
		r.settle("a", "g") // which fails at once
		time.Sleep(3 * time.Second)
		synctest.Wait() // ... and after one and three seconds
		expect("three failures", map[string]float64{
			"dropseed_hashed_trees_total a": 1, "dropseed_hashed_bytes_total a": 100_000, "dropseed_publish_failures_total error a": 3,
		})
		r.mem["a"].FailReads(nil)
		time.Sleep(maxBackoff)
		synctest.Wait()
		expect("both trees", map[string]float64{
			"dropseed_hashed_trees_total a": 2, "dropseed_hashed_bytes_total a": 100_010, "dropseed_publish_failures_total error a": 3,
		})
	}, "a")
}
