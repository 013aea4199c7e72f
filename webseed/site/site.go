// Package site is what people and scripts see of the releases: pages, .torrent
// files, feeds, sums, a JSON API and the health of the server.
//
// Pages are rendered on the server from the templates in pages/, and load the
// files in assets/ and nothing from elsewhere. They work without scripts; those
// that there are (assets/app.js and others) make them live. What they and the API
// say of a release comes from publisher/feed; what a release says of itself, in a
// README, anybody may have written, and is sanitized (markdown.go). Links within
// the site are relative to the host that the browser asked; only what leaves it
// (magnet links, commands to copy, the API) holds the public URL. Every list is
// cut to windows of at most [maxLimit] items, and what names a release is escaped
// wherever it stands.
//
// Live figures (live.go) come from publisher/history. Who listens to events
// (events.go) is told by [Site.Run], which makes each event once for all and
// rests while nobody listens.
//
// The package does not serve the content itself, and publishes nothing.
package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
	"dropseed/publisher/feed"
	"dropseed/publisher/history"
	"dropseed/watcher"
	"dropseed/webseed/access"
	"dropseed/webseed/site/openapi"
)

// Options is what a Site stands on. A base is the public URL of this server
// without a slash at its end, such as http://host:8080.
type Options struct {
	Catalog *catalog.Catalog
	Listing *feed.Listing
	Title   string // the heading of the pages
	// Base returns the base for the one who asks.
	Base func(r *http.Request) string
	// FileURL returns where a file of the newest release of its name is served.
	FileURL func(base, path string) string
	// Torrent returns a release's .torrent with the trackers and webseeds for a
	// base. It may return catalog.ErrUnknown (wrapped).
	Torrent func(base string, r catalog.Release) ([]byte, error)
	// Pending returns what is on its way to being a release, or failed to be one.
	Pending func() []Pending
	// Private: not everybody may see the catalog, so no shared cache may keep an
	// answer, and no page on another site may read it.
	Private bool
	// History has the figures, and how they were.
	History *history.History
	// Swarm returns who is connected for a release.
	Swarm func(ih infohash.T) Swarm
	// Client returns where a request came from.
	Client  func(r *http.Request) netip.Addr
	Version string // of the product
	Started time.Time
	// Ready returns why the server is not ready to be used, if it is not.
	Ready func() error
	// Open opens the i-th file of a release, to show its README. nil: none is shown.
	Open func(ctx context.Context, c *catalog.Content, i int) (watcher.Object, error)
	// Operator reports whether who asks may see what is the operator's: what is
	// pending, and the figures of the server. nil: everybody may.
	Operator func(r *http.Request) bool
	Brand    Brand
	Log      *slog.Logger
}

// Pending is a tree that is not published, and why.
type Pending struct {
	Name   string    `json:"name"`
	Source string    `json:"source"`
	Path   string    `json:"path,omitempty"` // the file that is the reason, if it is one
	State  State     `json:"state"`
	Reason string    `json:"reason,omitempty"` // for people
	Done   int64     `json:"done"`             // bytes hashed
	Total  int64     `json:"total"`            // bytes to hash; 0: not known
	Since  time.Time `json:"since,omitzero"`   // when it got into this state
}

// State is how far a pending tree is.
type State string

// The states.
const (
	Settling State = "settling" // still changing
	Queued   State = "queued"   // waits to be hashed
	Hashing  State = "hashing"
	Failed   State = "failed"  // is tried again
	Problem  State = "problem" // cannot be published as it is
)

// Site is safe for concurrent use.
type Site struct {
	o           Options
	assets      *assetSet
	brand       branding
	readmes     *readmes
	totals      totals
	lastStats   recent[stats]
	lastPending recent[[]Pending]
	events      *hub
	streamWrite time.Duration // for a client to take what it is sent
}

// New returns a Site. Its Run makes the events.
func New(o Options) *Site {
	assets := newAssetSet()
	return &Site{
		o: o, assets: assets, brand: newBranding(o.Brand, assets), readmes: newReadmes(o),
		events: newHub(), streamWrite: streamWrite,
	}
}

// ServeHTTP answers every path of the site, and 404 for all others.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	head, rest := route(access.RawPath(r.URL))
	public := s.setHeaders(h, head)
	switch {
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
	case r.Method == http.MethodOptions && public:
		h.Set("Allow", publicMethods)
		h.Set("Access-Control-Allow-Methods", publicMethods)
		h.Set("Access-Control-Allow-Headers", "Authorization, Range, Cache-Control, User-Agent, If-Range, If-None-Match, Last-Event-ID")
		h.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
		return
	case public:
		h.Set("Allow", publicMethods)
		s.fail(w, r, http.StatusMethodNotAllowed, "Only "+publicMethods+" are allowed.")
		return
	default:
		h.Set("Allow", "GET, HEAD")
		s.fail(w, r, http.StatusMethodNotAllowed, "Only GET and HEAD are allowed.")
		return
	}
	switch head {
	case "/":
		s.index(w, r)
	case "/releases/":
		s.release(w, r, rest)
	case assetPrefix:
		s.serveAsset(w, r)
	case "/status":
		s.status(w, r)
	case "/torrents/":
		s.torrent(w, r, rest)
	case "/api/v1/releases":
		s.apiReleases(w, r)
	case "/api/v1/releases/":
		if hex, ok := strings.CutSuffix(rest, "/swarm"); ok {
			s.apiSwarm(w, r, hex)
			return
		}
		s.apiRelease(w, r, rest)
	case "/api/v1/stats":
		s.apiStats(w)
	case "/api/v1/history":
		s.apiHistory(w, r)
	case "/api/v1/events":
		s.apiEvents(w, r)
	case "/api/v1/pending":
		s.apiPending(w, r)
	case "/api/v1/openapi.json":
		s.apiDescription(w, r, "application/json", openapi.JSON)
	case "/api/v1/openapi.yaml":
		s.apiDescription(w, r, "application/yaml", openapi.YAML)
	case "/api/":
		s.apiPage(w, r)
	case "/api", "/api/v1", "/api/v1/":
		w.Header().Set("Location", root(s.o.Base(r))+"/api/")
		w.WriteHeader(http.StatusTemporaryRedirect)
	case "/feed.rss", "/feed.atom", "/feed.json":
		compressed(http.HandlerFunc(s.serveFeed)).ServeHTTP(w, r)
	case sumsPath:
		compressed(http.HandlerFunc(s.serveSums)).ServeHTTP(w, r)
	case "/healthz":
		text(w, http.StatusOK, "ok")
	case "/readyz":
		if err := s.o.Ready(); err != nil {
			why := "not ready"
			if s.operator(r) { // it names a source
				why = err.Error()
			}
			text(w, http.StatusServiceUnavailable, why)
			return
		}
		text(w, http.StatusOK, "ready")
	default:
		s.nothing(w, r)
	}
}

// nothing answers for an address that is none of the site's.
func (s *Site) nothing(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/api/") {
		s.problem(w, r, codeNotFound, "There is nothing at this address. What there is, is listed at /api/.")
		return
	}
	s.fail(w, r, http.StatusNotFound, "There is nothing at this address.")
}

// route splits a raw path into the name of what serves it and what follows.
func route(path string) (head, rest string) {
	for _, prefix := range []string{"/releases/", "/torrents/", "/api/v1/releases/", assetPrefix} {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			return prefix, rest
		}
	}
	return path, ""
}

// publicMethods are what the API and the like answer.
const publicMethods = "GET, HEAD, OPTIONS"

// byHash returns the live release with an info-hash in hex, or the status and
// the reason why there is none. ok is false if hex is no info-hash that ever was one.
func (s *Site) byHash(hex string) (rel catalog.Release, status int, ok bool) {
	var ih infohash.T
	if ih.FromHexString(hex) != nil {
		return rel, http.StatusNotFound, false
	}
	rel, ok = s.o.Catalog.Get(ih)
	if !ok {
		return rel, http.StatusNotFound, false
	}
	if !rel.Live() {
		return rel, http.StatusGone, true
	}
	return rel, http.StatusOK, true
}

// reasons are what is said for a status that byHash returns.
var reasons = map[int]string{
	http.StatusNotFound: "There is no such release.",
	http.StatusGone:     "This release is retired: its content was changed or removed.",
}

// torrent answers /torrents/{info-hash}.torrent and /torrents/{name}.torrent.
// What looks like an info-hash is a name only if no release has that info-hash.
func (s *Site) torrent(w http.ResponseWriter, r *http.Request, raw string) {
	stem, isTorrent := strings.CutSuffix(raw, ".torrent")
	name, err := url.PathUnescape(stem)
	if err != nil || !isTorrent {
		s.fail(w, r, http.StatusNotFound, "There is nothing at this address.")
		return
	}
	rel, status, ok := s.byHash(name)
	if !ok {
		if rel, ok = s.o.Catalog.Latest(name); ok {
			status = http.StatusOK
		}
	}
	if status != http.StatusOK {
		s.fail(w, r, status, reasons[status])
		return
	}
	b, err := s.o.Torrent(s.o.Base(r), rel)
	if errors.Is(err, catalog.ErrUnknown) {
		s.fail(w, r, http.StatusNotFound, reasons[http.StatusNotFound])
		return
	}
	if err != nil {
		s.o.Log.Error("a torrent cannot be read", "release", rel.Name, "err", err)
		s.fail(w, r, http.StatusInternalServerError, "The torrent cannot be read right now.")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/x-bittorrent")
	h.Set("Content-Disposition", disposition(rel.Name+".torrent"))
	h.Set("ETag", etag(b))
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(b)))
}

// disposition is an attachment's Content-Disposition (RFC 6266), with the name
// twice unless it is plain ASCII: curl -J knows the first form only.
func disposition(name string) string {
	plain := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '/' {
			return '_'
		}
		return c
	}, name)
	v := fmt.Sprintf(`attachment; filename="%s"`, plain)
	if plain != name {
		v += "; filename*=UTF-8''" + strings.ReplaceAll(url.QueryEscape(name), "+", "%20")
	}
	return v
}

// fail answers with an error: a problem below /api/, text for .torrent files and
// health, else a page.
func (s *Site) fail(w http.ResponseWriter, r *http.Request, status int, reason string) {
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/api/"):
		s.problemOf(w, r, status, reason)
	case strings.HasPrefix(path, "/torrents/"), isFeed(path), path == "/healthz", path == "/readyz":
		text(w, status, reason)
	default:
		s.render(w, r, status, s.frame(r, "error", errorPage{Status: status, Text: http.StatusText(status), Reason: reason}))
	}
}

func text(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, line+"\n")
}
