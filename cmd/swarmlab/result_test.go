package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestFluidLimit(t *testing.T) {
	const size = 125_000_000 // a gigabit
	for _, row := range []struct {
		name             string
		n                int
		origin, down, up bitRate
		want             time.Duration
	}{
		{"the origin's line", 10, 100e6, 200e6, 200e6, 10 * time.Second},
		{"a client's line", 2, 1e9, 50e6, 1e9, 20 * time.Second},
		{"all that is sent", 10, 100e6, 200e6, 20e6, 33333333333},
		{"without any upload", 10, 100e6, 200e6, 0, 100 * time.Second},
		{"one client", 1, 100e6, 200e6, 200e6, 10 * time.Second},
	} {
		if got := fluidLimit(row.n, size, row.origin, row.down, row.up); got.Round(time.Microsecond) != row.want.Round(time.Microsecond) {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}

func TestLimitsOfScenarios(t *testing.T) {
	for name, want := range map[string]float64{
		"crowd":    10.737,
		"crowd30":  10.737,
		"home":     35.791,
		"arrivals": 23.369, // the last comes after 18 s
		"churn":    10.737,
		"late":     5.369, // at the client's own speed
		"alone":    10.737,
		"many":     5.369,
		"mixed":    10.737,
	} {
		s, err := findScenario(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := seconds(s.limit()); got != want {
			t.Errorf("%s: limit %v s, want %v", name, got, want)
		}
	}
}

func TestUnits(t *testing.T) {
	for _, row := range []struct {
		text string
		want int64 // 0: an error
	}{
		{"100Mbit", 100e6}, {"1.5Gbit", 15e8}, {"64kbit", 64e3}, {"7bit", 7}, {" 7 bit", 7},
		{"", 0}, {"100", 0}, {"Mbit", 0}, {"-1Mbit", 0}, {"0bit", 0}, {"NaNbit", 0}, {"1e30Gbit", 0}, {"Infbit", 0}, {"100MiB", 0},
	} {
		var r bitRate
		if err := r.Set(row.text); (err == nil) != (row.want != 0) || int64(r) != row.want {
			t.Errorf("rate %q is %d (%v), want %d", row.text, r, err, row.want)
		}
	}
	for _, row := range []struct {
		text string
		want int64
	}{
		{"128MiB", 128 << 20}, {"1GB", 1e9}, {"10B", 10}, {"0.5KiB", 512}, {"3kB", 3000},
		{"12", 0}, {"B", 0}, {"-1B", 0}, {"1000GiB", 0}, {"5Mbit", 0},
	} {
		var s byteSize
		if err := s.Set(row.text); (err == nil) != (row.want != 0) || int64(s) != row.want {
			t.Errorf("size %q is %d (%v), want %d", row.text, s, err, row.want)
		}
	}
	for text, got := range map[string]string{
		"128MiB": byteSize(128 << 20).String(), "1500MB": byteSize(15e8).String(), "1025B": byteSize(1025).String(), "0B": byteSize(0).String(),
		"100Mbit": bitRate(100e6).String(), "2Gbit": bitRate(2e9).String(),
	} {
		if got != text {
			t.Errorf("%s is printed as %s", text, got)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, row := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(row.values); got != row.want {
			t.Errorf("the median of %v is %v, want %v", row.values, got, row.want)
		}
	}
}

func at(s float64) *float64 { return &s }
func of(n int64) *int64     { return &n }

func TestMedianCountsFromEachClientsOwnStart(t *testing.T) {
	last, middle := lastAndMedian([]downloads{
		{Start: 0, Done: at(5)}, {Start: 2, Done: at(9)}, {Start: 4, Done: at(8)}, {Start: 6}, {Start: 1, Died: true},
	})
	if last != 9 || middle != 5 {
		t.Errorf("last %v, median %v; want 9 and 5", last, middle)
	}
}

func TestWaysThatAreUnknownStayUnknown(t *testing.T) {
	if n := (ways{}).total(); n != nil {
		t.Errorf("nothing is known, and makes %d", *n)
	}
	w := ways{Peers: of(10), Webseed: of(5)}.minus(ways{Peers: of(3), Webseed: of(5)})
	if w.Direct != nil || *w.Peers != 7 || *w.Webseed != 0 || *w.total() != 7 {
		t.Errorf("the difference is %d, %d, %v", *w.Peers, *w.Webseed, w.Direct)
	}
}

func TestResultIsOneLineOfJSON(t *testing.T) {
	r := result{Scenario: "crowd", Last: 1.5, Sent: ways{Peers: of(7)}, Downloads: []downloads{{Host: "c001", Done: at(1)}, {Host: "c002"}}}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"sent":{"peers":7}`, `"last":1.5`, `"downloads":[{"host":"c001"`, `"done":1`} {
		if !strings.Contains(string(text), part) {
			t.Errorf("%s is not in %s", part, text)
		}
	}
	for _, part := range []string{"error", "crowd\":{", "payload_copies", "\n"} {
		if strings.Contains(string(text), part) {
			t.Errorf("%q is in %s", part, text)
		}
	}
}

func TestTableHoldsMediansBesideTheFirstOrigin(t *testing.T) {
	run := func(origin, client string, last float64, failure string) result {
		return result{Scenario: "crowd", Origin: origin, Client: client, Size: 100, Limit: 2, Last: last, Median: last / 2,
			Copies: last / 10, Error: failure, Sent: ways{Peers: of(int64(last))}}
	}
	results := []result{
		run("dropseed", "aria2", 3, ""), run("glued", "aria2", 6, ""),
		run("dropseed", "aria2", 100, "broken"), run("glued", "aria2", 9, ""),
		run("dropseed", "aria2", 5, ""), run("glued", "aria2", 12, ""),
		run("nginx", "curl", 40, ""), run("libtorrent", "aria2", 1, "broken"),
	}
	var out strings.Builder
	if err := printTable(&out, results); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"scenario origin client runs last ÷ limit median ÷ limit copies payload peers webseed direct cpu s/GB ÷ dropseed",
		"crowd dropseed aria2 2 (1 failed) 4.0 s 2.00 2.0 s 1.00 0.400 0.040 0.040 n/a n/a 0.00 1.00",
		"crowd glued aria2 3 9.0 s 4.50 4.5 s 2.25 0.900 0.090 0.090 n/a n/a 0.00 2.25",
		"crowd nginx curl 1 40.0 s 20.00 20.0 s 10.00 4.000 0.400 0.400 n/a n/a 0.00 –",
		"crowd libtorrent aria2 0 (1 failed) – – – – – – – – – – –",
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("the table is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	out.Reset()
	if err := printTable(&out, nil); err != nil || out.Len() > 0 {
		t.Errorf("no results make the table %q (%v)", out.String(), err)
	}
}

func TestTableNotesLateAndMixedOnes(t *testing.T) {
	var out strings.Builder
	if err := printTable(&out, []result{
		{Scenario: "late", Origin: "dropseed", Client: "aria2", Limit: 1, Crowd: &crowd{Last: 12, Copies: 1.25}},
		{Scenario: "mixed", Origin: "dropseed", Client: mixed, Limit: 1, Downloads: []downloads{
			{Client: "curl", Done: at(4)}, {Client: "aria2", Done: at(5)}, {Client: "curl", Done: at(6)}, {Client: "curl"}}},
	}); err != nil {
		t.Fatal(err)
	}
	for _, note := range []string{"the crowd before it took 12.0 s and 1.250 copies", "the last of each kind: curl 6.0 s, aria2 5.0 s."} {
		if !strings.Contains(out.String(), note) {
			t.Errorf("%q is not in\n%s", note, out.String())
		}
	}
}
