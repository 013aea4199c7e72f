package main

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/configs"
	"dropseed/publisher"
	"dropseed/publisher/catalog"
	"dropseed/publisher/feed"
	"dropseed/publisher/torrentfile"
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
		Magnet:  s.magnet,
		FileURL: webseed.FileURL,
		URLs: func(base string, r catalog.Release, path string) []string {
			return fileURLs(s.network(base, r), r, path)
		},
		TorrentSize: func(base string, r catalog.Release) int64 {
			more, err := torrentfile.Added(s.network(base, r))
			if err != nil { // there is nothing in it that could fail
				more = 0
			}
			return r.TorrentSize + int64(more)
		},
		Pieces: s.pieces,
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
		Operator: s.mayOperate,

		Catalog: s.catalog,
		Listing: listing,
		Title:   s.config.HTTP.Title,
		Base:    s.catalogBase,
		FileURL: webseed.FileURL,
		Torrent: s.torrent,
		Pending: s.pending,
		History: s.history,
		Swarm:   s.connected,
		Client:  s.tracker.ClientAddr,
		Started: s.started,
		Ready:   s.ready,
		Private: s.config.Access.Catalog == configs.Private,
		Version: version,
		Open:    s.open,
		Brand:   s.brand,
		Log:     s.log,
	})
}

// pieces returns the SHA-1s of a release's pieces, one after the other.
func (s *server) pieces(r catalog.Release) ([]byte, error) {
	b, err := s.catalog.Torrent(r.InfoHash)
	if err != nil {
		return nil, err
	}
	m, err := torrentfile.Parse(b)
	if err != nil {
		return nil, err
	}
	return m.Pieces, nil
}

// fileURLs returns where a file of a release is had over HTTP: its address at
// each of the release's webseeds, the first of which is ours.
func fileURLs(n torrentfile.Network, r catalog.Release, path string) []string {
	urls := slices.Clone(n.Webseeds)
	if r.IsFile {
		return urls
	}
	for i := range urls {
		urls[i] += webseed.Escape(path)
	}
	return urls
}

// links are what leads from the i-th file of a release to more about it (RFC 6249).
func (s *server) links(r *http.Request, c *catalog.Content, i int) []string {
	base, path := s.catalogBase(r), c.Files[i].Path
	links := []string{
		fmt.Sprintf(`<%s/torrents/%s.torrent>; rel=describedby; type="application/x-bittorrent"`, base, c.InfoHash.HexString()),
		fmt.Sprintf(`<%s>; rel=describedby; type=%q`, webseed.FileURL(base, path)+feed.MetalinkExt, feed.MetalinkType),
	}
	for n, u := range fileURLs(s.network(base, c.Release), c.Release, path) {
		if !strings.HasPrefix(u, s.base(r)+"/") {
			links = append(links, fmt.Sprintf("<%s>; rel=duplicate; pri=%d", u, n+1))
		}
	}
	return links
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
