package main

import (
	"context"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"

	"dropseed/publisher/catalog"
	"dropseed/publisher/notify"
	"dropseed/webseed/site"
)

// openNotify takes down what is to be told of what happened before. It is to be
// called before the publisher runs.
func (s *server) openNotify() error {
	c := s.config.Notify
	if len(c.URLs) == 0 && len(c.Command) == 0 {
		return nil
	}
	for _, u := range c.URLs {
		if u.Scheme == "http" && !loopback(u) {
			s.log.Warn("notifications are sent unencrypted; https would keep them private", "to", u.Hostname())
		}
	}
	o := notify.Options{
		Catalog: s.catalog, Folder: filepath.Join(s.config.State, "notify"),
		URLs: c.URLs, Secret: notify.Secret(c.Secret.Reveal()), Command: c.Command,
		Existing: c.Existing, Timeout: c.Timeout, Drain: s.config.Shutdown,
		Links: s.publicLinks, Trees: s.unpublished, Listed: s.listed,
		UserAgent: "dropseed/" + version, Log: s.log,
	}
	for _, e := range c.Events {
		o.Events = append(o.Events, notify.Type(e))
	}
	var err error
	s.notify, err = notify.Open(o)
	return err
}

// runNotify tells of what happens until ctx ends, if there is anybody to tell.
func (s *server) runNotify(ctx context.Context) error {
	if s.notify == nil {
		return nil
	}
	return s.notify.Run(ctx)
}

// publicLinks returns where those find a release who did not ask us for it.
func (s *server) publicLinks(r catalog.Release) notify.Links {
	base := s.pageURL()
	return notify.Links{
		Page:    base + "/releases/" + url.PathEscape(r.Name),
		Torrent: base + "/torrents/" + r.InfoHash.HexString() + ".torrent",
		Magnet:  s.magnet(base, r),
	}
}

// unpublished is what is pending, with the reason of what failed.
func (s *server) unpublished() []notify.Tree {
	pending := s.pending()
	trees := make([]notify.Tree, len(pending))
	for i, p := range pending {
		trees[i] = notify.Tree{Source: p.Source, Name: p.Name, Path: p.Path}
		if p.State == site.Failed || p.State == site.Problem {
			trees[i].Reason = p.Reason
		}
	}
	return trees
}

// listed reports whether all that is in a source is known.
func (s *server) listed(source string) bool {
	src := s.sources[source]
	if src == nil {
		return true // there is nothing in it any more
	}
	select {
	case <-src.watcher.Ready():
		return true
	default:
		return false
	}
}

// loopback reports whether a URL stays on this machine.
func loopback(u *url.URL) bool {
	a, err := netip.ParseAddr(u.Hostname())
	return err == nil && a.IsLoopback() || strings.EqualFold(u.Hostname(), "localhost")
}
