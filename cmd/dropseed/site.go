package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher"
	"dropseed/publisher/feed"
	"dropseed/watcher"
	"dropseed/webseed"
	"dropseed/webseed/site"
)

// newSite composes the pages and the API out of what all others know.
func (s *server) newSite() *site.Site {
	listing := feed.New(feed.Options{
		WebseedURL: webseed.WebseedURL,
		Magnet:     s.magnet,
		Swarm: func(ih infohash.T) feed.Swarm {
			c := s.tracker.Swarm(ih)
			connected, have := s.seeder.Connected(ih)
			completed := int(s.history.Before(ih).Completed) + c.Completed
			return feed.Swarm{Seeders: c.Seeders, Leechers: c.Leechers, Completed: completed, Connected: connected, Progress: have}
		},
		Sent: func(ih infohash.T) feed.Sent {
			c := s.counted(ih)
			return feed.Sent{Peers: c.Peers, Webseed: c.Webseed, Direct: c.Direct, Gained: c.Gained}
		},
	})
	return site.New(site.Options{
		Catalog: s.catalog,
		Listing: listing,
		Title:   s.config.HTTP.Title,
		Base:    s.base,
		FileURL: webseed.FileURL,
		Torrent: s.torrent,
		Pending: s.pending,
		History: s.history,
		Swarm:   s.connected,
		Client:  s.tracker.ClientAddr,
		Version: version,
		Started: s.started,
		Ready:   s.ready,
		Log:     s.log,
	})
}

// ready says what the server still waits for.
func (s *server) ready() error {
	for name, src := range s.sources {
		select {
		case <-src.watcher.Ready():
		default:
			return fmt.Errorf("the source %q has not been listed yet", name)
		}
	}
	return nil
}

// pending is what the watchers and the publisher have not finished, by name.
func (s *server) pending() []site.Pending {
	var list []site.Pending
	jobs := make(map[[2]string]bool)
	for _, j := range s.publisher.Pending() {
		jobs[[2]string{j.Source, j.Name}] = true
		p := site.Pending{Name: j.Name, Source: j.Source, Reason: j.Err, Done: j.Done, Total: j.Size, Since: j.Since}
		switch j.Reason {
		case publisher.Queued:
			p.State = site.Queued
		case publisher.Hashing:
			p.State = site.Hashing
		case publisher.Failed:
			p.State = site.Failed
		default:
			p.State = site.Problem
		}
		list = append(list, p)
	}
	for _, src := range s.sources {
		for _, w := range src.watcher.Pending() {
			if jobs[[2]string{w.Source, w.Name}] {
				continue // what is being done about it says more
			}
			p := site.Pending{Name: w.Name, Source: w.Source, Path: w.Path, State: site.Settling, Reason: w.Err, Total: w.Size, Since: w.Since}
			switch w.Reason {
			case watcher.Blocked:
				p.State = site.Problem
			case watcher.Vanished:
				p.Reason = "it is not listed any more"
			}
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b site.Pending) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Source, b.Source))
	})
	return list
}
