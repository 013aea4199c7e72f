package site

import (
	"crypto/sha1"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
	"dropseed/publisher/history"
)

// newHistory returns a history in which nothing happens.
func newHistory(tb testing.TB, c *catalog.Catalog) *history.History {
	return history.Open(history.Options{
		Path:   filepath.Join(tb.TempDir(), "history"),
		Active: func() iter.Seq[history.Reading] { return slices.Values([]history.Reading(nil)) },
		Size: func(ih infohash.T) (int64, bool) {
			r, ok := c.Get(ih)
			return r.Size, ok
		},
		Log: slog.New(slog.DiscardHandler),
	})
}

// sentOf is a history in which something was sent of a release.
func sentOf(f *fixture, tb testing.TB, ih infohash.T, sent history.Counters, swarm history.Swarm) *history.History {
	h := history.Open(history.Options{
		Path: filepath.Join(tb.TempDir(), "history"),
		Active: func() iter.Seq[history.Reading] {
			return slices.Values([]history.Reading{{InfoHash: ih, Counters: sent, Swarm: swarm}})
		},
		Size: func(infohash.T) (int64, bool) { return 1000, true },
		Log:  slog.New(slog.DiscardHandler),
	})
	f.site.o.History = h
	return h
}

func TestStats(t *testing.T) {
	f := newFixture(t)
	rel := f.publish(t, "a", 1000, "")
	f.publish(t, "b", 500, "x", "y")
	f.pending = []Pending{{Name: "c"}}
	sentOf(f, t, rel.InfoHash, history.Counters{Peers: 1000, Webseed: 200, Direct: 300, Gained: 2700, Completed: 7},
		history.Swarm{Seeders: 1, Leechers: 2, Connected: 3})
	f.site.o.Version = "1.2.3"
	a := f.get(t, "/api/v1/stats")
	wantAll(t, a, 200, `"version":"1.2.3"`, `"releases":2,"size":2000,"pending":1`,
		`"swarm":{"seeders":1,"leechers":2,"completed":7,"connected":3}`,
		`"sent":{"peers":1000,"webseed":200,"direct":300}`, `"copies":1.5,"peers_share":0.5`, `"rates":{"peers":`)
	if got := a.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
	f.publish(t, "c", 1, "")
	if got := f.site.newStats(); got.Releases != 3 || got.Size != 2001 {
		t.Errorf("after another release: %d of %d bytes", got.Releases, got.Size)
	}
}

func TestHistoryOfServerAndRelease(t *testing.T) {
	f := newFixture(t)
	rel := f.publish(t, "a", 1000, "")
	h := sentOf(f, t, rel.InfoHash, history.Counters{Peers: 1_000_000}, history.Swarm{Leechers: 2})
	h.Close() // adds a point
	for _, query := range []string{"range=hour", "range=day", "range=hour&release=" + rel.InfoHash.HexString()} {
		a := f.get(t, "/api/v1/history?"+query)
		var got struct {
			Range  string
			Step   int
			From   int64
			Series map[string][]*float64
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.StatusCode != 200 {
			t.Fatalf("%s: status %d, %v: %.200s", query, a.StatusCode, err, a.body)
		}
		if !strings.Contains(query, got.Range) || got.Step != map[string]int{"hour": 10, "day": 240}[got.Range] || got.From%int64(got.Step) != 0 {
			t.Errorf("%s: %s, step %d, from %d", query, got.Range, got.Step, got.From)
		}
		for _, name := range history.Names {
			if len(got.Series[name]) != 360 {
				t.Errorf("%s: %d points of %s", query, len(got.Series[name]), name)
			}
		}
		if len(got.Series) != len(history.Names) || got.Series["peers"][0] != nil {
			t.Errorf("%s: %d series, and the first is %v", query, len(got.Series), got.Series["peers"][0])
		}
		known := func(v *float64) bool { return v != nil }
		if i := slices.IndexFunc(got.Series["leechers"], known); i < 0 || *got.Series["leechers"][i] != 2 || *got.Series["peers"][i] <= 0 {
			t.Errorf("%s: the point that was made is at %d", query, i)
		}
	}
	wantAll(t, f.get(t, "/api/v1/history"), 400, "hour")
	wantAll(t, f.get(t, "/api/v1/history?range=week"), 400, "hour")
	wantAll(t, f.get(t, "/api/v1/history?range=day&release=x"), 404)
}

func TestSwarm(t *testing.T) {
	f := newFixture(t)
	rel := f.publish(t, "a", 1, "")
	path := "/api/v1/releases/" + rel.InfoHash.HexString() + "/swarm"
	if a := f.get(t, path); a.body != `{"pieces":1,"parts":1,"peers":[],"availability":[],"truncated":false}`+"\n" {
		t.Errorf("without peers: %s", a.body)
	}
	f.site.o.Swarm = func(infohash.T) Swarm {
		return Swarm{Pieces: 4, Parts: 2, Availability: []float64{0.5, 2}, Truncated: true, Peers: []Peer{{ID: "x", Client: "<c>", Progress: 0.25, Rate: 10, Parts: []byte{0, 255}}}}
	}
	wantAll(t, f.get(t, path), 200, `"peers":[{"id":"x","client":"\u003cc\u003e","progress":0.25,"rate":10,"parts":"AP8="}],"availability":[0.5,2],"truncated":true`)
	if err := f.catalog.Retire(rel.InfoHash); err != nil {
		t.Fatal(err)
	}
	wantAll(t, f.get(t, path), 410)
	wantAll(t, f.get(t, "/api/v1/releases/x/swarm"), 404)
}

// BenchmarkStats is of 100,000 releases, of which ten have something going on:
// what a tick costs while somebody listens, and what it costs when the catalog
// has changed besides.
func BenchmarkStats(b *testing.B) {
	f := newFixture(b)
	manyReleases(b, f, 100_000)
	live := f.catalog.Live()
	n := int64(0)
	f.site.o.History = history.Open(history.Options{
		Path: filepath.Join(b.TempDir(), "history"),
		Active: func() iter.Seq[history.Reading] {
			return func(yield func(history.Reading) bool) {
				n++
				for _, r := range live[:10] {
					yield(history.Reading{InfoHash: r.InfoHash, Counters: history.Counters{Peers: n}, Swarm: history.Swarm{Leechers: 1}})
				}
			}
		},
		Size: func(ih infohash.T) (int64, bool) {
			r, ok := f.catalog.Get(ih)
			return r.Size, ok
		},
		Log: slog.New(slog.DiscardHandler),
	})
	for _, row := range []struct {
		name    string
		changed bool
	}{{"idle", false}, {"changed", true}} {
		b.Run(row.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if row.changed {
					f.site.totals.changed = nil
				}
				f.site.newStats()
			}
		})
	}
}

// manyReleases has a fixture use a catalog of so many releases, written as files
// because to commit each would take long.
func manyReleases(b *testing.B, f *fixture, n int) {
	b.Helper()
	dir := b.TempDir()
	c, err := catalog.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	f.catalog = c
	f.site.o.Catalog = c
	first := f.publish(b, "release-00000000", 1000, "")
	path := filepath.Join(dir, "releases", first.InfoHash.HexString())
	record, err := os.ReadFile(path + ".json")
	if err != nil {
		b.Fatal(err)
	}
	c.Close()
	for i := 1; i < n; i++ {
		ih := infohash.T(sha1.Sum(fmt.Append(nil, i)))
		at := filepath.Join(dir, "releases", ih.HexString())
		text := strings.NewReplacer("release-00000000", fmt.Sprintf("release-%08d", i), first.InfoHash.HexString(), ih.HexString()).Replace(string(record))
		if err := errors.Join(os.WriteFile(at+".json", []byte(text), 0o644), os.WriteFile(at+".torrent", []byte("de"), 0o644)); err != nil {
			b.Fatal(err)
		}
	}
	if c, err = catalog.Open(dir, slog.New(slog.DiscardHandler)); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	f.catalog = c
	f.site.o.Catalog = c
	if got := len(c.Live()); got != n {
		b.Fatalf("%d releases, want %d", got, n)
	}
}
