// Package webseed serves the releases' bytes over HTTP: to BitTorrent clients
// as a webseed (BEP 19), and to browsers, curl and aria2 as plain files.
//
// A request path is resolved to a file of a live release ([resolve] knows the
// forms that clients make of a name), the file is opened at the version that
// was hashed, and net/http's range serving sends it, straight from the page
// cache (sendfile) where the content is a file of this machine. Content that
// is found to have changed is never sent on: the connection is closed instead,
// since a client that sees a bad hash, or an error status, drops the webseed
// for good. A [Gate] keeps the webseed a fallback for those that get the release
// over BitTorrent.
//
// The package does not publish anything, has no routes (it is given requests
// whose path has its prefix) and lists no directories.
package webseed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
	"dropseed/watcher"
)

// The prefixes of the request paths.
const (
	webseedPrefix = "/webseed/"
	filesPrefix   = "/files/"
)

// Kind is the way by which bytes were sent.
type Kind int

// The kinds.
const (
	Webseed Kind = iota // to BitTorrent clients
	Direct              // to everybody else
)

// Catalog is what the webseed asks of a catalog; see [catalog.Catalog].
type Catalog interface {
	Get(ih infohash.T) (catalog.Release, bool)
	Latest(name string) (catalog.Release, bool)
	Content(ih infohash.T) (*catalog.Content, error)
}

// Options is what a Server stands on.
type Options struct {
	Catalog Catalog
	// Open opens the i-th file of a release (see [watcher.Opener]). Each Object that it
	// returns is used by one request, which moves the offset of a
	// [watcher.Local]'s file: it must be a descriptor of its own.
	Open func(ctx context.Context, c *catalog.Content, i int) (watcher.Object, error)
	// Redirect returns the URL at which the i-th file of a release is had instead of
	// from here, by a request of that method, or "". Errors are as Open's. May be nil.
	Redirect func(ctx context.Context, method string, c *catalog.Content, i int) (string, error)
	// Sent is told of bytes of content that were sent in answer to a request. It is
	// called often, and may be nil.
	Sent func(r *http.Request, ih infohash.T, kind Kind, n int64)
	// Take waits until n bytes of a release may be sent in answer to a request,
	// and Chunk is how many to ask for at once; nil and 0: as one likes.
	Take  func(r *http.Request, ih infohash.T, kind Kind, n int) error
	Chunk int
	Gate  *Gate // of the webseed; nil: everybody is served
	// Metalink answers with the Metalink document of a release's i-th file, or, for i
	// = -1, of all of them. nil: there are none.
	Metalink func(w http.ResponseWriter, r *http.Request, c *catalog.Content, i int)
	// MetalinkFrom is the size from which on the Metalink of a single-file release is
	// sent in place of the file to those who say that they take one; 0: never.
	MetalinkFrom int64 // bytes
	// Links are what the header Link says of the i-th file of a release (RFC 6249).
	// May be nil.
	Links func(r *http.Request, c *catalog.Content, i int) []string

	// Private: not everybody may have the files, so no shared cache may keep one,
	// and no page on another site may read one. The webseed is open in any case.
	Private bool
	Log     *slog.Logger
}

// Server is safe for concurrent use.
type Server struct {
	o      Options
	counts counters
}

// New returns a Server.
func New(o Options) *Server {
	if o.Sent == nil {
		o.Sent = func(*http.Request, infohash.T, Kind, int64) {}
	}
	return &Server{o: o}
}

// ServeWebseed answers GET, HEAD and OPTIONS of /webseed/{info-hash}/{name}[/{path}].
// For a single-file release the name may be missing or doubled. It answers 404
// for what never was, 410 for a retired release, and closes the connection
// without an answer when the content is not what was hashed or the [Gate] does
// not let the request pass.
//
// It panics with [http.ErrAbortHandler] to close the connection.
func (s *Server) ServeWebseed(w http.ResponseWriter, r *http.Request) {
	end := unreadable // until something else is known; also when it panics
	defer func() { s.counts.requests[Webseed][end].Add(1) }()
	if !begin(w, r, true) {
		end = otherwise
		return
	}
	hash, rest, _ := strings.Cut(strings.TrimPrefix(rawPath(r.URL), webseedPrefix), "/")
	var ih infohash.T
	if err := ih.FromHexString(hash); err != nil {
		end = notFound
		fail(w, http.StatusNotFound, "There is no such release: the path must hold an info-hash of 40 hex digits.")
		return
	}
	rel, ok := s.o.Catalog.Get(ih)
	if !ok {
		end = notFound
		fail(w, http.StatusNotFound, "There is no such release.")
		return
	}
	if !rel.Live() {
		end = retired
		fail(w, http.StatusGone, "This release is retired.")
		return
	}
	content, i, ok := s.find(w, rel, rest, r.URL)
	if !ok {
		end = notFound
		return
	}
	// libtorrent follows a redirect for one file alone, and so never gets the pieces
	// that lie in several; nor does it go to private addresses, or tell the server
	// the port, which is signed.
	if !isLibtorrent(r) {
		if there, err := s.redirected(w, r, content, i); err != nil {
			panic(http.ErrAbortHandler)
		} else if there {
			end = redirected
			return
		}
	}
	var pass *permit // nil: there is no gate
	off, n := requested(r, content.Files[i].Size)
	off += content.Offset(i)
	if s.o.Gate != nil && r.Method == http.MethodGet {
		if pass, ok = s.o.Gate.admit(r, rel, off, n); !ok {
			end = refused
			refuse(w, r)
			return
		}
	}
	obj, err := s.open(r.Context(), content, i)
	if err != nil {
		if pass != nil {
			pass.done(off) // what is lent is not sent
		}
		panic(http.ErrAbortHandler)
	}
	defer obj.Close()

	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", "public, max-age=31536000, immutable, no-transform")
	end = cut
	s.send(w, r, content, i, obj, Webseed, pass)
	end = complete
}

// ServeFiles answers GET, HEAD and OPTIONS of /files/{name}[/{path}] with a
// file of the newest release of that name. Its ETag is the webseed's, so that a
// download that is resumed with If-Range never mixes two releases. It answers
// 404 for what is not published, and 503 when the content is not what was hashed.
// With .meta4 behind the name, or behind a file's path, it answers with a
// Metalink document, unless there is such a file.
//
// It panics with [http.ErrAbortHandler] to close the connection.
func (s *Server) ServeFiles(w http.ResponseWriter, r *http.Request) {
	end := unreadable // until something else is known; also when it panics
	defer func() { s.counts.requests[Direct][end].Add(1) }()
	w.Header().Set("Content-Security-Policy", "sandbox") // whatever is hosted here runs no scripts as this site
	if !begin(w, r, !s.o.Private) {
		end = otherwise
		return
	}
	path := strings.TrimPrefix(rawPath(r.URL), filesPrefix)
	if s.described(w, r, path) {
		end = otherwise
		return
	}
	rel, ok := s.latest(path, r.URL)
	if !ok {
		end = notFound
		fail(w, http.StatusNotFound, "Nothing of that name is published.")
		return
	}
	content, i, ok := s.find(w, rel, path, r.URL)
	if !ok {
		end = notFound
		return
	}
	if s.negotiated(w, r, content, i) {
		end = otherwise
		return
	}
	s.describe(w, r, content, i)
	if there, err := s.redirected(w, r, content, i); err != nil {
		later(w)
		return
	} else if there {
		end = redirected
		return
	}
	obj, err := s.open(r.Context(), content, i)
	if err != nil {
		later(w)
		return
	}
	defer obj.Close()

	h := w.Header()
	setFileType(h, content.Files[i].Path)
	h.Set("Cache-Control", "no-cache, no-transform")
	if s.o.Private {
		h.Set("Cache-Control", "private, no-cache, no-transform")
	}
	end = cut
	s.send(w, r, content, i, obj, Direct, nil)
	end = complete
}

// begin sets what every answer has, and answers what is not a GET or HEAD. What
// is shared may be read by pages on other sites.
func begin(w http.ResponseWriter, r *http.Request, shared bool) bool {
	h := w.Header()
	if shared {
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Expose-Headers", "Content-Range, Content-Length, Accept-Ranges, ETag, Digest, Repr-Digest, Link")
	}
	h.Set("X-Content-Type-Options", "nosniff")
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return true
	case http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Range, Cache-Control, User-Agent, If-Range")
		h.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
	default:
		h.Set("Allow", "GET, HEAD, OPTIONS")
		fail(w, http.StatusMethodNotAllowed, "Only GET, HEAD and OPTIONS are allowed.")
	}
	return false
}

// find returns the file of a release that a raw path means, or answers the request.
func (s *Server) find(w http.ResponseWriter, rel catalog.Release, raw string, u *url.URL) (*catalog.Content, int, bool) {
	content, err := s.o.Catalog.Content(rel.InfoHash)
	if errors.Is(err, catalog.ErrUnknown) {
		fail(w, http.StatusNotFound, "There is no such release.")
		return nil, 0, false
	}
	if err != nil {
		// The bytes are there, so no status may make a client drop the webseed.
		s.o.Log.Error("the files of a release cannot be read", "release", rel.Name, "source", rel.Source, "err", err)
		panic(http.ErrAbortHandler)
	}
	if !content.Live() { // since we looked
		fail(w, http.StatusGone, "This release is retired.")
		return nil, 0, false
	}
	i, ok := resolve(content, raw, u)
	if !ok {
		fail(w, http.StatusNotFound, "There is no such file in this release.")
	}
	return content, i, ok
}

// latest returns the live release whose name is the first component of a raw path.
func (s *Server) latest(raw string, u *url.URL) (catalog.Release, bool) {
	for _, p := range spellings(raw, u) {
		name, _, _ := strings.Cut(p, "/")
		for _, form := range forms(name) {
			if rel, ok := s.o.Catalog.Latest(form); ok {
				return rel, true
			}
		}
	}
	return catalog.Release{}, false
}

// later answers for a file that cannot be had at the moment.
func later(w http.ResponseWriter) {
	undescribe(w.Header())
	w.Header().Set("Retry-After", "10")
	fail(w, http.StatusServiceUnavailable, "This file cannot be read at the moment, or is being replaced. Try again soon.")
}

// redirected answers with a redirect if the i-th file of a release is had
// elsewhere. There is no gate on the way there: what a client gets it gets from
// others.
func (s *Server) redirected(w http.ResponseWriter, r *http.Request, c *catalog.Content, i int) (there bool, err error) {
	if s.o.Redirect == nil {
		return false, nil
	}
	link, err := s.o.Redirect(r.Context(), r.Method, c, i)
	if err != nil {
		s.tell(r.Context(), c, i, err)
		return false, err
	}
	if link == "" {
		return false, nil
	}
	h := w.Header()
	h.Set("Location", link)
	h.Del("Repr-Digest")               // it would be that of this answer
	h.Set("Cache-Control", "no-store") // it may be good for a while only
	w.WriteHeader(http.StatusTemporaryRedirect)
	return true, nil
}

// open opens the i-th file of a release, and logs why it cannot.
func (s *Server) open(ctx context.Context, c *catalog.Content, i int) (watcher.Object, error) {
	obj, err := s.o.Open(ctx, c, i)
	if err != nil {
		s.tell(ctx, c, i, err)
	}
	return obj, err
}

// tell logs why the i-th file of a release cannot be sent.
func (s *Server) tell(ctx context.Context, c *catalog.Content, i int, err error) {
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, watcher.ErrChanged), errors.Is(err, fs.ErrNotExist):
		// The watcher sees it too, and retires the release.
		s.o.Log.Debug("a file is no longer what was hashed", "release", c.Name, "source", c.Source, "path", c.Files[i].Path, "err", err)
	default:
		s.o.Log.Warn("a file cannot be opened", "release", c.Name, "source", c.Source, "path", c.Files[i].Path, "err", err)
	}
}

// send answers with the i-th file of a release or the range of it that is asked
// for, as far as the gate lets it pass, if there is one.
func (s *Server) send(w http.ResponseWriter, r *http.Request, c *catalog.Content, i int, obj watcher.Object, kind Kind, pass *permit) {
	w.Header().Set("ETag", fmt.Sprintf(`"%s-%d"`, c.InfoHash.HexString(), i))
	tameRange(r.Header)
	from, _ := requested(r, c.Files[i].Size)
	at := c.Offset(i) + from
	if pass != nil {
		defer func() { pass.done(at) }()
	}
	chunk := int64(chunkSize)
	if s.o.Chunk > 0 {
		chunk = int64(s.o.Chunk)
	}
	out := &sender{
		ResponseWriter: w,
		control:        http.NewResponseController(w),
		check:          obj.Check,
		next: func(most int64) (n int64, err error) {
			n = min(most, chunk)
			if pass != nil {
				allowed, err := pass.next(at)
				if err != nil {
					return 0, err
				}
				n = min(n, allowed)
			}
			if s.o.Take != nil {
				err = s.o.Take(r, c.InfoHash, kind, int(n))
			}
			return n, err
		},
		sent: func(n int64) {
			at += n
			s.counts.sent[kind].Add(n)
			s.o.Sent(r, c.InfoHash, kind, n)
		},
	}
	http.ServeContent(out, r, "", time.Time{}, newBody(obj, c.Files[i].Size))
	if out.err == nil {
		return
	}
	if errors.Is(out.err, watcher.ErrChanged) {
		s.o.Log.Info("a file changed while it was sent", "release", c.Name, "source", c.Source, "path", c.Files[i].Path, "err", out.err)
	}
	panic(http.ErrAbortHandler)
}

// refuse closes the connection without an answer: any but the bytes would make
// clients drop the webseed. Clients send their next requests while they receive,
// and a connection that is closed with requests unread takes back what was sent
// before; so it is closed for writing, and for reading once the client has heard.
//
// libtorrent comes again after a second, and takes whatever it asked for here
// from its peers' hands for that time: they then stand idle, since it asks them
// for more only when they have something new. What is not HTTP makes it wait for
// half a minute instead.
func refuse(w http.ResponseWriter, r *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer conn.Close()
	if isLibtorrent(r) {
		_, _ = io.WriteString(conn, "\n")
	}
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || conn.SetDeadline(time.Now().Add(lingerFor)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, conn, lingerMost)
}

// isLibtorrent reports whether a request comes from libtorrent under one of its
// names. It gives one in the first request of a connection only.
func isLibtorrent(r *http.Request) bool {
	name := r.UserAgent()
	for _, n := range []string{"libtorrent", "qBittorrent", "Deluge"} {
		if strings.Contains(name, n) {
			return true
		}
	}
	return name == ""
}

// How long, and for how many bytes of requests, a refused client is waited for.
const (
	lingerFor  = 5 * time.Second
	lingerMost = 64 << 10
)

// fail answers with an error for people, which no cache on the way keeps.
func fail(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, text, status)
}
