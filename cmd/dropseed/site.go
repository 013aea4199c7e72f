package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/configs"
	"dropseed/publisher"
	"dropseed/publisher/catalog"
	"dropseed/publisher/feed"
	"dropseed/watcher"
	"dropseed/webseed"
	"dropseed/webseed/access"
	"dropseed/webseed/site"
)

// newSite composes the pages and the API out of what all others know.
func (s *server) newSite() *site.Site {
	listing := feed.New(feed.Options{
		WebseedURL: func(base string, r catalog.Release) string {
			return webseed.WebseedURL(access.WithoutToken(base), r)
		},
		Magnet: s.magnet,
		Swarm: func(ih infohash.T) feed.Swarm {
			c := s.tracker.Swarm(ih)
			connected, have := s.seeder.Connected(ih)
			return feed.Swarm{Seeders: c.Seeders, Leechers: c.Leechers, Completed: c.Completed, Connected: connected, Progress: have}
		},
		Sent: func(ih infohash.T) feed.Sent {
			t := s.seeder.Totals(ih)
			return feed.Sent{
				Peers: t.Sent, Webseed: s.sent.get(ih, webseed.Webseed), Direct: s.sent.get(ih, webseed.Direct), Gained: t.Gained,
			}
		},
	})
	return site.New(site.Options{
		Operator: s.mayOperate,

		Catalog: s.catalog,
		Listing: listing,
		Title:   s.config.HTTP.Title,
		Base:    s.catalogBase,
		FileURL: webseed.FileURL,
		Torrent: s.torrent,
		Pending: s.pending,
		Ready:   s.ready,
		Private: s.config.Access.Catalog == configs.Private,
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
