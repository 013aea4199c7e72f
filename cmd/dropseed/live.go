package main

import (
	"iter"
	"math"
	"path/filepath"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/history"
	"dropseed/publisher/tracker"
	"dropseed/webseed"
	"dropseed/webseed/site"
)

// composeHistory opens the history of what the catalog holds.
func (s *server) composeHistory() {
	s.history = history.Open(history.Options{
		Path:   filepath.Join(s.config.State, "history"),
		Active: s.activity,
		Size: func(ih infohash.T) (int64, bool) {
			r, ok := s.catalog.Get(ih)
			return r.Size, ok
		},
		Log: s.log,
	})
}

// activity returns a reading of every release that anything goes on in.
func (s *server) activity() iter.Seq[history.Reading] {
	type found struct {
		history.Swarm
		completed int
	}
	all := make(map[infohash.T]found)
	s.tracker.Active(func(ih infohash.T, c tracker.Counts) {
		all[ih] = found{history.Swarm{Seeders: c.Seeders, Leechers: c.Leechers}, c.Completed}
	})
	s.seeder.Active(func(ih infohash.T, connected int) {
		f, ok := all[ih]
		if !ok {
			f.completed = s.tracker.Completed(ih)
		}
		f.Connected = connected
		all[ih] = f
	})
	for _, ih := range s.sent.takeTouched() {
		if _, ok := all[ih]; !ok {
			all[ih] = found{completed: s.tracker.Completed(ih)}
		}
	}
	return func(yield func(history.Reading) bool) {
		for ih, f := range all {
			c := s.countedNow(ih)
			c.Completed = int64(f.completed)
			if !yield(history.Reading{InfoHash: ih, Counters: c, Swarm: f.Swarm}) {
				return
			}
		}
	}
}

// countedNow returns what was counted of a release since the start, but for
// what the tracker counts.
func (s *server) countedNow(ih infohash.T) history.Counters {
	t, a := s.seeder.Totals(ih), s.sent.get(ih)
	return history.Counters{
		Peers: t.Sent, Gained: t.Gained + a.strangers,
		Webseed: a.by[webseed.Webseed], Direct: a.by[webseed.Direct],
	}
}

// counted returns the same ever.
func (s *server) counted(ih infohash.T) history.Counters {
	before, now := s.history.Before(ih), s.countedNow(ih)
	return history.Counters{
		Peers: before.Peers + now.Peers, Gained: before.Gained + now.Gained,
		Webseed: before.Webseed + now.Webseed, Direct: before.Direct + now.Direct,
	}
}

// connected is who is connected for a release, as the site shows it.
func (s *server) connected(ih infohash.T) site.Swarm {
	v := s.seeder.View(ih)
	out := site.Swarm{Pieces: v.Pieces, Parts: v.Parts, Truncated: v.Truncated, Availability: make([]float64, len(v.Availability))}
	decimals := func(f float64) float64 { return math.Round(1000*f) / 1000 }
	for i, n := range v.Availability {
		out.Availability[i] = decimals(n)
	}
	for _, p := range v.Peers {
		peer := site.Peer{ID: p.ID, Client: p.Client, Progress: decimals(p.Progress), Rate: math.Round(p.Rate), Parts: p.Parts}
		if s.config.Peers.ShowAddresses {
			peer.Address = p.Addr.String()
		}
		out.Peers = append(out.Peers, peer)
	}
	return out
}
