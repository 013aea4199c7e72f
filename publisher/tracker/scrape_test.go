package tracker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/tracker"
)

func scrapeQuery(hashes ...infohash.T) string {
	var keys []string
	for _, ih := range hashes {
		keys = append(keys, "info_hash="+escape(string(ih[:])))
	}
	return "?" + strings.Join(keys, "&")
}

func TestScrapeS01Paths(t *testing.T) {
	s := start(t, tracker.Options{})
	s.announce(t, hash(1), 1, leeching, "")
	for _, announce := range []string{"/announce", "/x/announce", "/announce/x", "/announce.php"} {
		path := strings.Replace(announce, "announce", "scrape", 1)
		m := s.get(t, path+scrapeQuery(hash(1))+"&passkey=1", "")
		if file(t, m, hash(1))["incomplete"] != int64(1) {
			t.Errorf("%s: %v", path, m)
		}
	}
	for _, path := range []string{"/scrape/", "/x/y/scrape", "/scrapes"} {
		if resp, _ := s.raw(t, "GET", path+scrapeQuery(hash(1)), ""); resp.StatusCode != 404 {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
}

func file(t *testing.T, m map[string]any, ih infohash.T) map[string]any {
	t.Helper()
	files, _ := m["files"].(map[string]any)
	f, ok := files[string(ih[:])].(map[string]any)
	if !ok {
		t.Fatalf("scrape lacks %v: %v", ih, m)
	}
	return f
}

func TestScrapeS02SortedAndOnce(t *testing.T) {
	s := start(t, tracker.Options{})
	s.announce(t, hash(1), 1, leeching, "")
	s.announce(t, hash(2), 2, seeding+"&event=completed", "")
	_, body := s.raw(t, "GET", "/scrape"+scrapeQuery(hash(2), hash(1), hash(2)), "")
	h1, h2 := hash(1), hash(2)
	want := "d5:filesd" +
		"20:" + string(h1[:]) + "d8:completei0e10:downloadedi0e11:downloadersi1e10:incompletei1ee" +
		"20:" + string(h2[:]) + "d8:completei1e10:downloadedi1e11:downloadersi0e10:incompletei0ee" + "ee"
	if body != want {
		t.Errorf("scrape\n%q, want\n%q", body, want)
	}
}

func TestScrapeS03UnknownIsZeros(t *testing.T) {
	s := start(t, tracker.Options{
		Standing: standing(map[infohash.T]tracker.Standing{hash(1): tracker.Tracked, hash(3): tracker.Retired}),
	})
	for _, ih := range []infohash.T{hash(1), hash(2), hash(3)} {
		if got := fmt.Sprint(file(t, s.get(t, "/scrape"+scrapeQuery(ih), ""), ih)); got != "map[complete:0 downloaded:0 downloaders:0 incomplete:0]" {
			t.Errorf("scrape of %v: %s", ih, got)
		}
	}
}

func TestScrapeS04NoneAndTooMany(t *testing.T) {
	s := start(t, tracker.Options{})
	for _, path := range []string{"/scrape", "/scrape?", "/scrape?info_hash=", "/scrape?info_hash=short", "/scrape?x=y"} {
		s.refused(t, path)
	}
	var many []infohash.T
	for i := range 120 {
		many = append(many, hash(byte(i)))
	}
	m := s.get(t, "/scrape"+scrapeQuery(many...), "")
	if got := len(m["files"].(map[string]any)); got != 100 {
		t.Errorf("%d of 120 are answered, want the first 100", got)
	}
	file(t, m, many[99])
}

func TestScrapeS05SameAsAnnounceAndNoSideEffect(t *testing.T) {
	s := start(t, tracker.Options{
		Standing: func(infohash.T) tracker.Standing { return tracker.Tracked },
		Seeds:    seeds("127.0.0.1:6881"),
	})
	before := s.Stats()
	s.get(t, "/scrape"+scrapeQuery(hash(1)), "")
	if s.Stats() != before {
		t.Errorf("a scrape left something behind: %+v", s.Stats())
	}
	s.announce(t, hash(1), 1, seeding+"&event=completed", "")
	s.announce(t, hash(1), 2, leeching, "")
	a := s.announce(t, hash(1), 3, leeching, "")
	f := file(t, s.get(t, "/scrape"+scrapeQuery(hash(1)), ""), hash(1))
	for _, key := range []string{"complete", "incomplete", "downloaded"} {
		if a[key] != f[key] {
			t.Errorf("%s: announce %v, scrape %v", key, a[key], f[key])
		}
	}
	if c := s.Swarm(hash(1)); c != (tracker.Counts{Seeders: 2, Leechers: 2, Downloaders: 2, Completed: 1}) {
		t.Errorf("Swarm: %+v", c)
	}
	u := dialUDP(t, s.udp4, "")
	if got := u.scrape(t, hash(1)); !slices.Equal(got, []uint32{2, 1, 2}) {
		t.Errorf("UDP scrape: %v", got)
	}
}

func TestScrapeS06DownloadersWithoutPaused(t *testing.T) {
	s := start(t, tracker.Options{})
	s.announce(t, hash(1), 1, leeching, "")
	s.announce(t, hash(1), 2, leeching+"&event=paused", "")
	s.announce(t, hash(1), 3, leeching+"&event=paused", "")
	s.announce(t, hash(1), 3, leeching, "")                // goes on
	s.announce(t, hash(1), 4, seeding+"&event=paused", "") // a full seed is no partial one
	f := file(t, s.get(t, "/scrape"+scrapeQuery(hash(1)), ""), hash(1))
	if f["downloaders"] != int64(2) || f["incomplete"] != int64(3) || f["complete"] != int64(1) {
		t.Errorf("scrape %v", f)
	}
}
