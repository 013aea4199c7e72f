package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"dropseed/configs"
	"dropseed/publisher"
	"dropseed/publisher/catalog"
	"dropseed/publisher/torrentfile"
	"dropseed/watcher"
	"dropseed/watcher/folder"
)

// source is one watched folder.
type source struct {
	config  configs.Source
	from    watcher.Source
	watcher *watcher.Watcher
}

func (s *server) openSources() error {
	var errs []error
	for _, c := range s.config.Sources {
		src := &source{config: c}
		if err := s.openFolder(src, s.log.With("source", c.Name)); err != nil {
			errs = append(errs, err)
			continue
		}
		s.sources[c.Name] = src
	}
	return errors.Join(errs...)
}

func (s *server) openFolder(src *source, log *slog.Logger) error {
	c := src.config
	if err := os.MkdirAll(c.Path, 0o755); err != nil {
		return fmt.Errorf("create the folder of source %q: %w", c.Name, err)
	}
	f, err := folder.New(c.Path, folder.Options{Ignore: c.Watch.Ignore, Log: log})
	if err != nil {
		return fmt.Errorf("source %q: %w", c.Name, err)
	}
	s.closers = append(s.closers, f.Close)
	src.from = f
	return nil
}

func (s *server) composeSources() {
	from := make(map[string]publisher.Source)
	for name, src := range s.sources {
		src.watcher = watcher.New(src.from, watcher.Options{
			Source: name,
			Settle: src.config.Watch.Settle,
			Rescan: src.config.Watch.Rescan,
			Known:  s.catalog.Published(name),
			Log:    s.log,
		})
		t := src.config.Torrent
		from[name] = publisher.Source{
			Opener: src.from, Lister: src.from, Look: src.watcher.Look,
			Torrent: torrentfile.Options{
				PieceLength: int64(t.PieceLength), Private: t.Private, Source: t.Source,
				Comment: t.Comment, CreatedBy: "dropseed " + version,
			},
		}
	}
	s.publisher = publisher.New(publisher.Options{Catalog: s.catalog, Sources: from, Log: s.log})
}

// open opens the i-th file of a release; see watcher.Opener.
func (s *server) open(ctx context.Context, c *catalog.Content, i int) (watcher.Object, error) {
	src, f := s.sources[c.Source], c.Files[i]
	if src == nil {
		return nil, fmt.Errorf("open %q: the source %q is not configured any more", f.Path, c.Source)
	}
	return src.from.Open(ctx, f)
}

// look has a tree listed again whose content turned out to have changed.
func (s *server) look(name, tree string) {
	if src := s.sources[name]; src != nil {
		src.watcher.Look(tree)
	}
}
