package site

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/gzhttp"

	"dropseed/publisher/catalog"
	"dropseed/publisher/feed"
)

// sumsPath is where the SHA-256 of all files is.
const sumsPath = "/SHA256SUMS"

// format is a kind of feed.
type format struct {
	ctype string
	write func(l *feed.Listing, w io.Writer, base string, ch feed.Channel, rels []*catalog.Release) error
}

// formats are the feeds, by path.
var formats = map[string]format{
	"/feed.rss":  {"application/rss+xml; charset=utf-8", (*feed.Listing).WriteRSS},
	"/feed.atom": {"application/atom+xml; charset=utf-8", (*feed.Listing).WriteAtom},
	"/feed.json": {"application/feed+json", (*feed.Listing).WriteJSONFeed},
}

// isFeed reports whether a path is that of a feed or of the sums.
func isFeed(path string) bool { return formats[path].write != nil || path == sumsPath }

// compressed has a handler's answers go out as gzip to those who take it.
var compressed = func() func(http.Handler) http.HandlerFunc {
	wrap, err := gzhttp.NewWrapper(gzhttp.EnableZstd(false))
	if err != nil {
		panic(err) // the options above do not contradict each other
	}
	return wrap
}()

// serveFeed answers /feed.rss and the like with the window that is asked for.
func (s *Site) serveFeed(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	kind := formats[path]
	win, err := parseWindow(r.URL.Query())
	if err != nil {
		s.fail(w, r, http.StatusBadRequest, err.Error())
		return
	}
	modified := s.o.Catalog.Modified() // first: what comes later is news
	found, total := win.find(s.o.Catalog.Live(), s.o.Listing.Peers)
	base := s.o.Base(r)
	address := func(path string, offset int) string {
		if query := win.values(offset).Encode(); query != "" {
			path += "?" + query
		}
		return base + path
	}
	ch := feed.Channel{Title: s.o.Title, Self: address(path, win.offset), Page: address("/", win.offset), Modified: modified}
	if win.query != "" {
		ch.Title += ": " + win.query
	}
	if win.source != "" {
		ch.Title += " (" + win.source + ")"
	}
	if next := win.offset + win.limit; next < total {
		ch.Next = address(path, next)
	}
	if s.unchanged(w, r, s.stampNow(modified, found, kind.ctype, ch.Title, ch.Self, ch.Next)) {
		return
	}
	w.Header().Set("Content-Type", kind.ctype)
	if r.Method == http.MethodHead {
		return
	}
	if err := kind.write(s.o.Listing, w, base, ch, found); err != nil && r.Context().Err() == nil {
		s.o.Log.Error("a feed cannot be made", "path", path, "err", err)
		panic(http.ErrAbortHandler) // nothing of it was sent
	}
}

// serveSums answers /SHA256SUMS with the sums of all live releases' files, or
// those of the window's source and search. Releases go out one by one, since
// there may be very many.
func (s *Site) serveSums(w http.ResponseWriter, r *http.Request) {
	win, err := parseWindow(r.URL.Query())
	if err != nil {
		s.fail(w, r, http.StatusBadRequest, err.Error())
		return
	}
	modified := s.o.Catalog.Modified()
	live := win.matching(s.o.Catalog.Live())
	slices.SortFunc(live, func(a, b *catalog.Release) int { return strings.Compare(a.Name, b.Name) })
	if s.unchanged(w, r, stamp(modified, live)) {
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if r.Method == http.MethodHead {
		return
	}
	for _, rel := range live {
		content, err := s.o.Catalog.Content(rel.InfoHash)
		if errors.Is(err, catalog.ErrUnknown) {
			continue
		}
		if err == nil {
			err = feed.WriteSums(w, content)
		}
		if err != nil {
			if r.Context().Err() == nil {
				s.o.Log.Error("a release cannot be listed", "release", rel.Name, "err", err)
			}
			panic(http.ErrAbortHandler) // half a list must not look like a whole one
		}
	}
}

// ServeMetalink answers GET and HEAD with the Metalink of a release's i-th file,
// or of all of them ([feed.Whole]). Its headers are set but for those that it
// knows better.
func (s *Site) ServeMetalink(w http.ResponseWriter, r *http.Request, c *catalog.Content, i int) {
	compressed(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		base, name := s.o.Base(r), c.Name
		if i != feed.Whole {
			name = c.Files[i].Path[strings.LastIndexByte(c.Files[i].Path, '/')+1:]
		}
		h := w.Header()
		s.setFresh(h)
		if s.unchanged(w, r, s.stampNow(c.CreatedAt, []*catalog.Release{&c.Release}, base, fmt.Sprint(i))) {
			return
		}
		h.Set("Content-Type", feed.MetalinkType)
		h.Set("Content-Disposition", disposition(name+feed.MetalinkExt))
		if r.Method == http.MethodHead {
			return
		}
		if err := s.o.Listing.WriteMetalink(w, base, c, i); err != nil {
			if r.Context().Err() == nil {
				s.o.Log.Error("a Metalink cannot be made", "release", c.Name, "err", err)
			}
			panic(http.ErrAbortHandler)
		}
	})).ServeHTTP(w, r)
}

// version tells a document from its other versions.
type version struct {
	tag      string // an ETag
	modified time.Time
}

// stamp returns the version of a document that says something of releases, in
// that order, and depends on parts beside. It is a weak one: how many peers there
// are counts for nothing.
func stamp(modified time.Time, rels []*catalog.Release, parts ...string) version {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q", parts)
	for _, r := range rels {
		sum.Write(r.InfoHash[:])
		sum.Write(r.Digest[:]) // another one may come with sums
	}
	return version{fmt.Sprintf(`W/"%x"`, sum.Sum(nil)[:16]), modified}
}

// stampNow is stamp for what also holds trackers and webseeds, which may be others
// after every start.
func (s *Site) stampNow(modified time.Time, rels []*catalog.Release, parts ...string) version {
	if started := s.o.Started; started.After(modified) {
		modified = started
	}
	return stamp(modified, rels, append(parts, s.o.Started.UTC().String())...)
}

// unchanged answers with 304 if the client has a version (RFC 9110, section
// 13.2.2), and else tells it which one it gets.
func (s *Site) unchanged(w http.ResponseWriter, r *http.Request, v version) bool {
	h := w.Header()
	h.Set("ETag", v.tag)
	// Times in HTTP are whole seconds: the one that v is from must be over, or
	// what changes in the rest of it would go unnoticed.
	second := v.modified.Add(time.Second - 1).Truncate(time.Second)
	if !v.modified.IsZero() && !second.After(time.Now()) {
		h.Set("Last-Modified", second.UTC().Format(http.TimeFormat))
	}
	if tags := r.Header.Values("If-None-Match"); len(tags) > 0 {
		for tag := range strings.SplitSeq(strings.Join(tags, ","), ",") {
			tag = strings.TrimSpace(tag)
			if tag == "*" || strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(v.tag, "W/") {
				w.WriteHeader(http.StatusNotModified)
				return true
			}
		}
		return false
	}
	since, err := http.ParseTime(r.Header.Get("If-Modified-Since"))
	if err != nil || v.modified.IsZero() || since.Before(v.modified) {
		return false
	}
	w.WriteHeader(http.StatusNotModified)
	return true
}
