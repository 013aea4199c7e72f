package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"time"

	"dropseed/configs"
	"dropseed/publisher"
	"dropseed/publisher/catalog"
	"dropseed/publisher/torrentfile"
	"dropseed/watcher"
	"dropseed/watcher/bucket"
	"dropseed/watcher/cached"
	"dropseed/watcher/folder"
	"dropseed/webseed"
)

// How content of buckets is served.
const (
	serveBlock = 256 << 10       // bytes that are asked for at once, at the least
	serveAhead = 4 << 20         // bytes
	serveMost  = 32              // such requests at a time, ahead of readers
	patience   = 2 * time.Minute // with a server that fails, while somebody waits for content
	retryAfter = time.Second
)

// source is one watched folder or bucket.
type source struct {
	config  configs.Source
	from    watcher.Source
	bucket  *bucket.Bucket // from, if it is one
	watcher *watcher.Watcher

	hashed watcher.Opener // from, as torrents are made of it
	cache  *cached.Cache  // of what is served from a bucket; nil: a folder needs none
}

// String says what is watched, for people.
func (src *source) String() string {
	if src.bucket == nil {
		return src.config.Path
	}
	return src.bucket.String()
}

func (s *server) openSources() error {
	buckets := 0
	for _, c := range s.config.Sources {
		if c.Type == configs.TypeBucket {
			buckets++
		}
	}
	if c := s.config.Cache; buckets > 0 && c.Disk > 0 {
		var err error
		if s.disk, err = cached.OpenDisk(c.Folder, int64(c.Disk), s.log); err != nil {
			return err
		}
		s.closers = append(s.closers, s.disk.Close)
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
	hashed := cached.New(b, cached.Streaming())
	src.from, src.bucket, src.hashed = b, b, hashed
	src.cache = cached.New(b, cached.Options{Memory: memory, Distance: serveAhead, Ahead: serveMost, Patience: patience, Disk: s.disk, Source: src.config.Name})
	s.closers = append(s.closers, hashed.Close, src.cache.Close)
	if c.HookSecret != "" {
		s.hooks["/hooks/s3/"+src.config.Name] = b.Hook(bucket.Secret(c.HookSecret.Reveal()))
	}
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
				SHA256: t.Checksums, Comment: t.Comment, CreatedBy: "dropseed " + version,
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
	// Whole pieces, and not too many requests for them.
	length := max(c.PieceLength, serveBlock)
	return src.cache.OpenOn(ctx, f, cached.Grid{Length: length, Lead: c.Offset(i) % length})
}

// openPatiently is open for peers, which wait while the source fails.
func (s *server) openPatiently(ctx context.Context, c *catalog.Content, i int) (watcher.Object, error) {
	for began := time.Now(); ; {
		obj, err := s.open(ctx, c, i)
		if err == nil || errors.Is(err, watcher.ErrChanged) || errors.Is(err, fs.ErrNotExist) || time.Since(began) > patience {
			return obj, err
		}
		if src := s.sources[c.Source]; src == nil || src.cache == nil {
			return nil, err // a folder does not heal
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-s.sources[c.Source].cache.Hurried():
			return nil, err
		case <-time.After(retryAfter):
		}
	}
}

// redirect returns the URL at which a file of a release is had instead of from
// here, or "" if it is had from here.
func (s *server) redirect(ctx context.Context, method string, c *catalog.Content, i int) (string, error) {
	src := s.sources[c.Source]
	switch {
	case src == nil || src.bucket == nil:
		return "", nil
	case src.config.Bucket.Webseed == configs.WebseedRedirect:
		return src.bucket.Link(ctx, method, c.Files[i])
	case src.config.Bucket.Webseed == configs.WebseedPublic:
		return src.config.Bucket.PublicURL.String() + webseed.Escape(c.Files[i].Path), nil
	}
	return "", nil
}

// publicURL is where what is in a source can be had besides here; nil: nowhere.
func (s *server) publicURL(name string) *url.URL {
	if src := s.sources[name]; src != nil {
		return src.config.Bucket.PublicURL
	}
	return nil
}

// look has a tree listed again whose content turned out to have changed.
func (s *server) look(name, tree string) {
	if src := s.sources[name]; src != nil {
		src.watcher.Look(tree)
	}
}
