package site

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"dropseed/publisher/catalog"
	"dropseed/publisher/feed"
)

// refreshAfter is when the front page loads itself anew while something moves.
const refreshAfter = 5 // seconds

// Bounds of what one page shows.
const (
	maxPending = 20
	maxFiles   = 500
)

//go:embed pages
var pages embed.FS

//go:embed pages/style.css
var style string

// contentPolicy lets a page use its own embedded style and the icon in it, and
// nothing else.
var contentPolicy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}()

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"style":   func() template.HTML { return template.HTML("<style>" + style + "</style>") },
	"bytes":   func(n int64) string { return humanize.Bytes(uint64(max(n, 0))) },
	"binary":  func(n int64) string { return humanize.IBytes(uint64(max(n, 0))) },
	"comma":   func(n int) string { return humanize.Comma(int64(n)) },
	"count":   count,
	"ago":     func(t time.Time) string { return humanize.Time(t) },
	"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"date":    func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
	"copies":  func(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) },
	"percent": func(f float64) string { return strconv.FormatFloat(100*f, 'f', 1, 64) + " %" },
}).ParseFS(pages, "pages/*.html"))

// count is a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return humanize.Comma(int64(n)) + " " + many
}

// frame is what every page has.
type frame struct {
	Title   string // of the site
	Root    string // what stands before the path of a link within the site
	Query   string // in the search box
	Refresh int    // seconds; 0: never
	Page    any
}

// row is a release on a page.
type row struct {
	feed.Release
	Href, Torrent string       // within the site
	Direct        string       // the file itself; empty for a directory
	MagnetLink    template.URL // safe: made of escaped parts, and checked for its scheme
	Files         int
}

type indexPage struct {
	Rows         []row
	Total        int // releases that match
	All          int // releases
	Size         int64
	From, To     int // of Total; counted from 1
	Newer, Older string
	Pending      []Pending
	MorePending  int
}

type releasePage struct {
	row
	Pieces       int
	Private      bool
	FileRows     []fileRow
	From, To     int // of Files; counted from 1
	Newer, Older string
	Commands     []command
}

type fileRow struct {
	Path, Href string
	Size       int64
}

type command struct{ Tool, Line string }

type errorPage struct {
	Status       int
	Text, Reason string
}

// root returns what stands before the path of links within the site: the path
// of the public URL, so that they work at whichever host the browser asked.
func root(base string) string {
	u, err := url.Parse(base)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(u.EscapedPath(), "/")
}

// row makes what a page shows of a release.
func (s *Site) row(base string, r catalog.Release) row {
	out := row{Release: s.o.Listing.Release(base, r), Files: r.Files}
	out.Href = root(base) + "/releases/" + url.PathEscape(r.Name)
	out.Torrent = root(base) + "/torrents/" + out.InfoHash + ".torrent"
	if r.IsFile {
		out.Direct = s.o.FileURL(root(base), r.Name)
	}
	if strings.HasPrefix(out.Magnet, "magnet:?") {
		out.MagnetLink = template.URL(out.Magnet)
	}
	return out
}

func (s *Site) index(w http.ResponseWriter, r *http.Request) {
	win, _ := parseWindow(r.URL.Query()) // a page shows something whatever is asked
	live := s.o.Catalog.Live()
	page := indexPage{All: len(live)}
	for _, rel := range live {
		page.Size += rel.Size
	}
	found, total := win.find(live)
	base := s.o.Base(r)
	for _, rel := range found {
		page.Rows = append(page.Rows, s.row(base, *rel))
	}
	page.Total, page.From, page.To = total, win.offset+1, win.offset+len(found)
	link := func(offset int) string {
		v := url.Values{"offset": {strconv.Itoa(offset)}}
		if win.limit != defaultLimit {
			v.Set("limit", strconv.Itoa(win.limit))
		}
		if win.query != "" {
			v.Set("q", win.query)
		}
		return "?" + v.Encode()
	}
	page.Newer, page.Older = pager(win.offset, win.limit, total, link)

	refresh := 0
	if win.query == "" && win.offset == 0 && (s.o.Operator == nil || s.o.Operator(r)) {
		page.Pending = s.o.Pending()
	}
	for _, p := range page.Pending {
		if p.State != Failed && p.State != Problem {
			refresh = refreshAfter
		}
	}
	if n := len(page.Pending) - maxPending; n > 0 {
		page.Pending, page.MorePending = page.Pending[:maxPending], n
	}
	s.renderFrame(w, http.StatusOK, "index.html", frame{
		Title: s.o.Title, Root: root(base), Query: win.query, Refresh: refresh, Page: page,
	})
}

// pager returns the links to the pages before and after an offset, or "".
func pager(offset, limit, total int, link func(offset int) string) (before, after string) {
	if offset > 0 {
		last := max(total-1, 0) / limit * limit
		before = link(max(0, min(offset-limit, last)))
	}
	if offset < total-limit {
		after = link(offset + limit)
	}
	return before, after
}

func (s *Site) release(w http.ResponseWriter, r *http.Request, raw string) {
	name, err := url.PathUnescape(raw)
	rel, ok := s.o.Catalog.Latest(name)
	if err != nil || !ok {
		s.fail(w, r, http.StatusNotFound, "No release has this name. It may have been retired.")
		return
	}
	content, err := s.o.Catalog.Content(rel.InfoHash)
	if err != nil {
		s.failContent(w, r, rel, err)
		return
	}
	base := s.o.Base(r)
	win, _ := parseWindow(url.Values{"offset": r.URL.Query()["offset"]})
	from := min(win.offset, len(content.Files)-1)
	to := min(from+maxFiles, len(content.Files))
	page := releasePage{
		row: s.row(base, rel), Pieces: rel.Pieces(), Private: rel.Private,
		From: from + 1, To: to, Commands: s.commands(base, content),
	}
	for _, f := range content.Files[from:to] {
		page.FileRows = append(page.FileRows, fileRow{
			Path: strings.TrimPrefix(f.Path, rel.Name+"/"), Href: s.o.FileURL(root(base), f.Path), Size: f.Size,
		})
	}
	page.Newer, page.Older = pager(from, maxFiles, len(content.Files), func(offset int) string {
		return fmt.Sprintf("?offset=%d#files", offset)
	})
	s.render(w, r, http.StatusOK, "release.html", page)
}

// commands are what fetches a release, to be pasted into a shell.
func (s *Site) commands(base string, c *catalog.Content) []command {
	torrent := shellQuote(base + "/torrents/" + c.InfoHash.HexString() + ".torrent")
	file := c.Files[0].Path
	out := shellQuote(file)
	if strings.HasPrefix(file, "-") {
		out = shellQuote("./" + file)
	}
	if !c.IsFile {
		out += " --create-dirs"
	}
	curl := command{"curl", "curl -C - -o " + out + " " + shellQuote(s.o.FileURL(base, file))}
	if len(c.Files) > 1 {
		curl.Tool = "curl, one file"
	}
	return []command{
		{"aria2", "aria2c --seed-time=0 " + torrent},
		{"Transmission", "transmission-cli -w . " + torrent},
		curl,
	}
}

// shellQuote makes a word of a POSIX shell of any text.
func shellQuote(s string) string {
	plain := s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/:%@+,") == ""
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func (s *Site) render(w http.ResponseWriter, r *http.Request, status int, name string, page any) {
	s.renderFrame(w, status, name, frame{Title: s.o.Title, Root: root(s.o.Base(r)), Page: page})
}

// renderFrame answers with a page, which is whole before a byte of it is sent.
func (s *Site) renderFrame(w http.ResponseWriter, status int, name string, f frame) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, f); err != nil {
		s.o.Log.Error("a page cannot be rendered", "path", name, "err", err)
		text(w, http.StatusInternalServerError, "This page cannot be shown right now.")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
	w.WriteHeader(status)
	w.Write(b.Bytes())
}
