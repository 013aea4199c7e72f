package tracker_test

import (
	"maps"
	"testing"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/tracker"
)

func TestActiveSwarmsAreTold(t *testing.T) {
	s := start(t, tracker.Options{Standing: func(infohash.T) tracker.Standing { return tracker.Tracked }})
	want := func(what string, want map[infohash.T]tracker.Counts) {
		t.Helper()
		got := make(map[infohash.T]tracker.Counts)
		s.Active(func(ih infohash.T, c tracker.Counts) { got[ih] = c })
		if !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	want("without peers", map[infohash.T]tracker.Counts{})
	s.announce(t, hash(1), 1, leeching, "")
	s.announce(t, hash(2), 2, leeching, "")
	one, two := tracker.Counts{Leechers: 1, Downloaders: 1}, tracker.Counts{Leechers: 1, Downloaders: 1}
	want("two leechers", map[infohash.T]tracker.Counts{hash(1): one, hash(2): two})
	s.announce(t, hash(2), 2, seeding+"&event=completed", "")
	s.announce(t, hash(2), 2, seeding+"&event=stopped", "")
	want("one has got all and left", map[infohash.T]tracker.Counts{hash(1): one, hash(2): {Completed: 1}})
	want("that is told once", map[infohash.T]tracker.Counts{hash(1): one})
}
