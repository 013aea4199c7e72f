package main

import (
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/webseed"
	"dropseed/webseed/access"
)

// answerTime is how long a client may take to receive an answer. Content and
// events give it a time for each piece instead.
const answerTime = 10 * time.Minute

// route hands a request to its component, if whoever sent it may see what the
// component shows: both are decided in one place, so that they cannot disagree.
// Paths are taken as they came: names may hold anything, so nothing is cleaned or
// redirected (which is why this is no ServeMux), and nothing wraps w, which
// would cost sendfile. What BitTorrent clients need is open, as are hooks, which
// have secrets of their own.
func (s *server) route(w http.ResponseWriter, r *http.Request) {
	r = s.access.Unwrap(r)
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/webseed/"):
		s.webseed.ServeWebseed(w, r)
	case strings.HasSuffix(path, ".meta4") && strings.HasPrefix(path, "/files/"):
		if s.admit(w, r, access.Catalog) { // it costs as much as a page
			s.webseed.ServeFiles(w, r)
		}
	case strings.HasPrefix(path, "/files/"):
		if s.access.Admit(w, r, access.Catalog) {
			s.webseed.ServeFiles(w, r)
		}
	case isTracker(path):
		s.tracker.ServeHTTP(w, r)
	case path == "/metrics":
		if s.admit(w, r, access.Operator) {
			s.metrics.ServeHTTP(w, r)
		}
	case s.hooks[path] != nil:
		s.hooks[path].ServeHTTP(w, r)
	default:
		if s.admit(w, r, access.KindOf(r.URL)) {
			s.site.ServeHTTP(w, r)
		}
	}
}

// isTracker reports whether a path is one of the tracker's: announce or scrape
// with or without .php, alone or with a passkey before or behind.
func isTracker(path string) bool {
	first, second, two := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch strings.TrimSuffix(first, ".php") {
	case "announce", "scrape":
		return !strings.Contains(second, "/")
	case "releases", "torrents", "api":
		return false
	}
	second = strings.TrimSuffix(second, ".php")
	return two && (second == "announce" || second == "scrape")
}

// connectionLimit closes connections beyond a number. It is no wrapper around
// the listener, since that would cost sendfile too.
type connectionLimit struct {
	most int64
	open atomic.Int64

	accepted, refused atomic.Int64 // since the start
}

func (l *connectionLimit) state(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if l.open.Add(1) > l.most {
			l.refused.Add(1)
			c.Close()
			return
		}
		l.accepted.Add(1)
	case http.StateClosed, http.StateHijacked:
		l.open.Add(-1)
	}
}

// accounts are the bytes of content sent over HTTP since the start, by release.
type accounts struct {
	total atomic.Int64 // bytes in all

	mu      sync.Mutex // guards the fields below
	sent    map[infohash.T]*account
	touched map[infohash.T]bool // since takeTouched
}

// account is the bytes of content of one release that were sent over HTTP.
type account struct {
	by [2]int64 // kind
	// strangers is what the webseed sent to addresses that no peer of ours has, and so
	// no peer tells us that it got.
	strangers int64
}

// noteSent counts what was sent in answer to a request.
func (s *server) noteSent(r *http.Request, ih infohash.T, kind webseed.Kind, n int64) {
	strangers := int64(0)
	if kind == webseed.Webseed && s.seeder.At(ih, s.tracker.ClientAddr(r), 0).Connected == 0 {
		strangers = n
	}
	s.sent.add(ih, kind, n, strangers)
}

// add counts n bytes, of which some went to strangers.
func (a *accounts) add(ih infohash.T, kind webseed.Kind, n, strangers int64) {
	a.total.Add(n)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sent == nil {
		a.sent = make(map[infohash.T]*account)
		a.touched = make(map[infohash.T]bool)
	}
	if a.sent[ih] == nil {
		a.sent[ih] = new(account)
	}
	a.sent[ih].by[kind] += n
	a.sent[ih].strangers += strangers
	a.touched[ih] = true
}

// takeTouched returns the releases of which anything was sent since the last call.
func (a *accounts) takeTouched() []infohash.T {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := slices.Collect(maps.Keys(a.touched))
	a.touched = make(map[infohash.T]bool)
	return list
}

func (a *accounts) get(ih infohash.T) account {
	a.mu.Lock()
	defer a.mu.Unlock()
	if sent := a.sent[ih]; sent != nil {
		return *sent
	}
	return account{}
}
