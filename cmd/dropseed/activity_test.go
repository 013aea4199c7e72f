package main

import (
	"fmt"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/history"
	"dropseed/publisher/seeder"
	"dropseed/publisher/tracker"
	"dropseed/webseed"
)

// A release that is retired and comes back soon has not been downloaded twice as often.
func TestDownloadsAreCountedOnceWhenAReleaseComesBack(t *testing.T) {
	standing, ih := tracker.Tracked, infohash.T{1}
	s := &server{
		tracker: tracker.New(tracker.Options{Standing: func(infohash.T) tracker.Standing { return standing }}),
		seeder:  seeder.New(seeder.Options{}),
	}
	s.history = history.Open(history.Options{
		Path: filepath.Join(t.TempDir(), "history"), Active: s.activity,
		Size: func(infohash.T) (int64, bool) { return 1, true },
	})
	announce := func(left int, event string) {
		t.Helper()
		query := fmt.Sprintf("/announce?info_hash=%s&peer_id=%020d&port=2000&left=%d&event=%s", url.QueryEscape(string(ih[:])), 1, left, event)
		r := httptest.NewRequest("GET", query, nil)
		r.RemoteAddr = "198.51.100.7:1000"
		w := httptest.NewRecorder()
		s.tracker.ServeHTTP(w, r)
	}
	announce(1, "started")
	announce(0, "completed")
	announce(0, "stopped")
	for _, standing = range []tracker.Standing{tracker.Tracked, tracker.Retired, tracker.Tracked} {
		s.sent.add(ih, webseed.Direct, 1, 0)
		s.history.Close() // looks
		if n := s.history.Now().Sent; n.Completed != 1 {
			t.Errorf("%d downloads were completed while it was %v", n.Completed, standing)
		}
	}
}

// Peers do not have to make up for what the webseed sent to clients that are none.
func TestWhatTheWebseedSendsToStrangersIsGained(t *testing.T) {
	ih := infohash.T{1}
	s := &server{tracker: tracker.New(tracker.Options{}), seeder: seeder.New(seeder.Options{})}
	r := httptest.NewRequest("GET", "/webseed/x", nil)
	s.noteSent(r, ih, webseed.Webseed, 100)
	s.noteSent(r, ih, webseed.Direct, 7)
	if c, want := s.countedNow(ih), (history.Counters{Webseed: 100, Direct: 7, Gained: 100}); c != want {
		t.Errorf("%+v, want %+v", c, want)
	}
}
