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
	"dropseed/watcher/bucket"
	"dropseed/watcher/cached"
	"dropseed/watcher/folder"
)

// How content of buckets is read. A torrent is made from large reads, many at a
// time; what is served is read piece by piece.
const (
	hashRead   = 4 << 20 // bytes
	hashAhead  = 16      // reads
	hashMemory = 2 * hashAhead * hashRead
	serveAhead = 4 << 20 // bytes
)

// source is one watched folder or bucket.
type source struct {
	config  configs.Source
	from    watcher.Source
	watcher *watcher.Watcher

	hashed watcher.Opener // from, as torrents are made of it
	cache  *cached.Cache  // of what is served from a bucket; nil: a folder needs none
}

func (s *server) openSources() error {
	buckets := 0
	for _, c := range s.config.Sources {
		if c.Type == configs.TypeBucket {
			buckets++
		}
	}
	var errs []error
	for _, c := range s.config.Sources {
		log := s.log.With("source", c.Name)
		src := &source{config: c}
		var err error
		if c.Type == configs.TypeBucket {
			err = s.openBucket(src, int64(s.config.Cache.Memory)/int64(buckets), log)
		} else {
			err = s.openFolder(src, log)
		}
		if err != nil {
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
	src.from, src.hashed = f, f
	return nil
}

func (s *server) openBucket(src *source, memory int64, log *slog.Logger) error {
	c := src.config.Bucket
	o := bucket.Options{
		Region: c.Region, Bucket: c.Name, Prefix: c.Prefix, CAFile: c.CAFile,
		AccessKey: c.AccessKey, SecretKey: bucket.Secret(c.SecretKey.Reveal()), Anonymous: c.Anonymous,
		Ignore: src.config.Watch.Ignore, Log: log,
	}
	if c.Endpoint != nil {
		o.Endpoint = c.Endpoint.String()
	}
	switch c.Addressing {
	case configs.AddressingPath:
		o.Addressing = bucket.PathStyle
	case configs.AddressingHost:
		o.Addressing = bucket.VirtualHost
	}
	b, err := bucket.New(o)
	if err != nil {
		return fmt.Errorf("source %q: %w", src.config.Name, err)
	}
	hashed := cached.New(b, cached.Options{
		Grid: cached.Grid{Length: hashRead}, Memory: hashMemory, Distance: hashAhead * hashRead, Ahead: hashAhead,
	})
	src.from, src.hashed = b, hashed
	src.cache = cached.New(b, cached.Options{Memory: memory, Distance: serveAhead})
	s.closers = append(s.closers, hashed.Close, src.cache.Close)
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
			Opener: src.hashed, Lister: src.from, Look: src.watcher.Look,
			Torrent: torrentfile.Options{
				PieceLength: int64(t.PieceLength), Private: t.Private, Source: t.Source,
				Comment: t.Comment, CreatedBy: "dropseed " + version,
			},
		}
	}
	s.publisher = publisher.New(publisher.Options{Catalog: s.catalog, Sources: from, Log: s.log})
}

// open opens the i-th file of a release; see watcher.Opener. What a bucket is
// asked for are whole pieces.
func (s *server) open(ctx context.Context, c *catalog.Content, i int) (watcher.Object, error) {
	src, f := s.sources[c.Source], c.Files[i]
	switch {
	case src == nil:
		return nil, fmt.Errorf("open %q: the source %q is not configured any more", f.Path, c.Source)
	case src.cache == nil:
		return src.from.Open(ctx, f)
	}
	return src.cache.OpenOn(ctx, f, cached.Grid{Length: c.PieceLength, Lead: c.Offset(i) % c.PieceLength})
}

// look has a tree listed again whose content turned out to have changed.
func (s *server) look(name, tree string) {
	if src := s.sources[name]; src != nil {
		src.watcher.Look(tree)
	}
}
