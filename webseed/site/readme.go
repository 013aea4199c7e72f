package site

import (
	"container/list"
	"context"
	"fmt"
	"html/template"
	"io"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
	"dropseed/watcher"
)

// Bounds of READMEs.
const (
	maxReadme     = maxMarkdown     // bytes that are shown of one
	readmeWait    = 2 * time.Second // that a page waits for one
	readmeRetry   = time.Minute     // after one could not be read
	readmeReaders = 4               // at a time, of a source
	readmeCache   = 8 << 20         // bytes of HTML that are kept
)

// A readme is what a release says of itself.
type readme struct {
	HTML      template.HTML // empty: nothing
	Name      string        // of the file
	Href      string        // the file, from the release's page
	Truncated bool          // it goes on

	until time.Time // when it has to be read again; zero: never
}

// readmes finds, reads and renders READMEs, and keeps those shown last. The
// README of a directory is a file at its top that is called README.md,
// README.markdown, README.txt or README, in any case and in this order. Else,
// and for a single file, it is the small single-file release beside it, from the
// same source, that is called as it is with .md or .txt behind (x.iso.md) or in
// place of its extension (x.md).
type readmes struct {
	catalog *catalog.Catalog
	open    func(ctx context.Context, c *catalog.Content, i int) (watcher.Object, error)
	fileURL func(base, path string) string

	flight singleflight.Group

	mu      sync.Mutex     // guards the fields below
	reading map[string]int // how many are being read, by source
	byHash  map[infohash.T]*list.Element
	used    list.List // of *keptReadme; front: last used
	size    int       // bytes
}

type keptReadme struct {
	hash infohash.T
	readme
}

func newReadmes(o Options) *readmes {
	return &readmes{
		catalog: o.Catalog, open: o.Open, fileURL: o.FileURL,
		reading: make(map[string]int), byHash: make(map[infohash.T]*list.Element),
	}
}

// of returns the README of a release. It waits for no longer than readmeWait;
// what comes later is kept for who asks next.
func (m *readmes) of(ctx context.Context, c *catalog.Content) readme {
	if m.open == nil {
		return readme{}
	}
	if !c.IsFile {
		if r := m.in(ctx, c, topReadme); r.HTML != "" {
			return r
		}
	}
	for _, name := range besides(c.Release) {
		rel, ok := m.catalog.Latest(name)
		if !ok || rel.Source != c.Source || !rel.IsFile || rel.Size > maxReadme || rel.InfoHash == c.InfoHash {
			continue
		}
		beside, err := m.catalog.Content(rel.InfoHash)
		if err != nil {
			continue
		}
		if r := m.in(ctx, beside, func(*catalog.Content) int { return 0 }); r.HTML != "" {
			return r
		}
	}
	return readme{}
}

// besides returns what the README of a release may be called that is a release itself.
func besides(r catalog.Release) []string {
	names := []string{r.Name + ".md", r.Name + ".txt"}
	if !r.IsFile {
		return names
	}
	stem := strings.TrimSuffix(r.Name, path.Ext(r.Name))
	stem = strings.TrimSuffix(stem, ".tar") // of .tar.gz and the like
	if stem != r.Name && stem != "" {
		names = append(names, stem+".md", stem+".txt")
	}
	return names
}

// topReadme returns the index of the README at the top of a tree, or -1.
func topReadme(c *catalog.Content) int {
	best, rank := -1, 4
	for i, f := range c.Files {
		name := f.Path[len(c.Name)+1:]
		if len(name) < len("readme") || len(name) > len("readme.markdown") || !strings.EqualFold(name[:6], "readme") {
			continue
		}
		for n, ext := range []string{".md", ".markdown", ".txt", ""} {
			if n < rank && strings.EqualFold(name[6:], ext) {
				best, rank = i, n
			}
		}
	}
	return best
}

// in returns what the file says that find finds in a release.
func (m *readmes) in(ctx context.Context, c *catalog.Content, find func(*catalog.Content) int) readme {
	if r, ok := m.kept(c.InfoHash); ok {
		return r
	}
	done := m.flight.DoChan(c.InfoHash.HexString(), func() (any, error) {
		// A read ends when the source says so, which may be long after the page was
		// sent; so few may wait for that at a time.
		if !m.begin(c.Source) {
			return readme{}, nil
		}
		defer m.end(c.Source)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readmeWait)
		defer cancel()
		i := find(c)
		if i < 0 {
			return m.keep(c.InfoHash, readme{}), nil
		}
		r, err := m.read(ctx, c, i)
		if err != nil {
			r = readme{until: time.Now().Add(readmeRetry)}
		}
		return m.keep(c.InfoHash, r), nil
	})
	wait := time.NewTimer(readmeWait)
	defer wait.Stop()
	select {
	case got := <-done:
		return got.Val.(readme)
	case <-wait.C:
		m.keep(c.InfoHash, readme{until: time.Now().Add(readmeRetry)}) // nobody else waits for it
	case <-ctx.Done():
	}
	return readme{}
}

// begin takes a place among those that read from a source, if one is free.
func (m *readmes) begin(source string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reading[source] >= readmeReaders {
		return false
	}
	m.reading[source]++
	return true
}

// end gives the place back.
func (m *readmes) end(source string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reading[source]--
}

// read reads and renders the i-th file of a release.
func (m *readmes) read(ctx context.Context, c *catalog.Content, i int) (readme, error) {
	f := c.Files[i]
	r := readme{Name: path.Base(f.Path), Href: m.fileURL("..", f.Path), Truncated: f.Size > maxReadme}
	text := make([]byte, min(f.Size, maxReadme))
	if len(text) == 0 {
		return readme{}, nil
	}
	obj, err := m.open(ctx, c, i)
	if err != nil {
		return readme{}, fmt.Errorf("open %q: %w", f.Path, err)
	}
	defer obj.Close()
	if n, err := obj.ReadAt(text, 0); n < len(text) {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return readme{}, fmt.Errorf("read %q: %w", f.Path, err)
	}
	if err := obj.Check(); err != nil {
		return readme{}, err
	}
	switch strings.ToLower(path.Ext(f.Path)) {
	case ".md", ".markdown":
		r.HTML = renderMarkdown(text, func(link string) string { return m.resolve(c, path.Dir(f.Path), link) })
	default:
		r.HTML = renderPlain(text)
	}
	return r, nil
}

// resolve returns the link to the file that a link in a README of the release
// means, which stands in folder, or "".
func (m *readmes) resolve(c *catalog.Content, folder, link string) string {
	u, err := url.Parse(link)
	if err != nil || u.Path == "" || c.IsFile {
		return ""
	}
	file := path.Join(folder, u.Path)
	if _, ok := c.Lookup(file); !ok {
		return ""
	}
	return m.fileURL("..", file)
}

// kept returns the README of a release if it is known, which may be an empty one.
func (m *readmes) kept(ih infohash.T) (readme, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.byHash[ih]
	if e == nil {
		return readme{}, false
	}
	k := e.Value.(*keptReadme)
	if !k.until.IsZero() && time.Now().After(k.until) {
		return readme{}, false
	}
	m.used.MoveToFront(e)
	return k.readme, true
}

// keep remembers the README of a release, and returns it.
func (m *readmes) keep(ih infohash.T, r readme) readme {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(m.byHash[ih])
	m.byHash[ih] = m.used.PushFront(&keptReadme{ih, r})
	m.size += r.bytes()
	for m.size > readmeCache && m.used.Len() > 1 {
		m.drop(m.used.Back())
	}
	return r
}

// drop forgets what is kept in an element of m.used. m.mu is held.
func (m *readmes) drop(e *list.Element) {
	if e == nil {
		return
	}
	k := m.used.Remove(e).(*keptReadme)
	delete(m.byHash, k.hash)
	m.size -= k.bytes()
}

// bytes is about what one takes in memory.
func (r readme) bytes() int { return 400 + len(r.HTML) + len(r.Name) + len(r.Href) }
