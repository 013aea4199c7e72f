package site

import (
	"bytes"
	"embed"
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

//go:embed pages
var pages embed.FS

// contentPolicy lets a page use what comes from here, and nothing else: no
// scripts, styles or pictures of others, and none within the page.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"bytes":  func(n int64) string { return humanize.Bytes(uint64(max(n, 0))) },
	"binary": func(n int64) string { return humanize.IBytes(uint64(max(n, 0))) },
	"comma":  func(n int) string { return humanize.Comma(int64(n)) },
	"count":  count,
	"ago":    ago,
	"iso":    func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"date":   func(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") },
	"live":   newLive,
	"card":   func(title, description, site string) card { return card{title, description, site} },
}).ParseFS(pages, "pages/*.html"))

// ago says how long ago a time was, roughly: a page does not change by the second.
func ago(t time.Time) string {
	if since := time.Since(t); since >= 0 && since < time.Minute {
		return "just now"
	}
	return humanize.Time(t)
}

// count is a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return humanize.Comma(int64(n)) + " " + many
}

// card is what others show of a link to a page.
type card struct{ Title, Description, Site string }

// A live number is kept up to date by scripts, if there is a path to it.
type live struct {
	Path         string // into the object of an event; empty: it stays as it is
	Format, Text string
}

// newLive writes a number as the path to it says what it is.
func newLive(path string, v any, isLive bool) live {
	l := live{Path: path, Format: "count"}
	switch last := path[strings.LastIndexByte(path, '.')+1:]; {
	case strings.Contains(path, ".rates."):
		l.Format = "rate"
	case strings.Contains(path, ".sent."), last == "size":
		l.Format = "bytes"
	case last == "peers_share":
		l.Format = "percent"
	case last == "copies":
		l.Format = "copies"
	}
	var n float64
	switch v := v.(type) {
	case int:
		n = float64(v)
	case int64:
		n = float64(v)
	case float64:
		n = v
	}
	switch l.Format {
	case "rate":
		l.Text = humanize.Bytes(uint64(max(n, 0))) + "/s"
	case "bytes":
		l.Text = humanize.Bytes(uint64(max(n, 0)))
	case "percent":
		l.Text = strconv.FormatFloat(100*n, 'f', 1, 64) + " %"
	case "copies":
		l.Text = strconv.FormatFloat(n, 'f', 2, 64)
	default:
		l.Text = humanize.Comma(int64(n))
	}
	if !isLive {
		l.Path = ""
	}
	return l
}

// frame is what every page has.
type frame struct {
	Title        string // of the site
	Description  string
	Announcement template.HTML
	Logo, Icon   string // paths; Logo: "" for the drop
	Root         string // what stands before the path of a link within the site
	Kind         string // index, release, status or error
	InfoHash     string // of the release that the page is about; may be empty
	Operator     bool   // shows what is the operator's
	Query        string // in the search box
	Feed         string // parameters of the feed of what is listed, with the "?"; may be empty
	Refresh      int    // seconds; 0: never
	Page         any

	assets *assetSet
}

// Asset returns the path of a file that pages load, or "" if it is not part of
// the program.
func (f frame) Asset(name string) string {
	if path := f.assets.asset(name); path != "" {
		return f.Root + path
	}
	return ""
}

// frame returns the frame of a page for the one who asks.
func (s *Site) frame(r *http.Request, kind string, page any) frame {
	prefix := root(s.o.Base(r))
	f := frame{
		Title: s.o.Title, Description: s.brand.description, Announcement: s.brand.announcement,
		Icon: prefix + s.brand.icon, Root: prefix, Kind: kind,
		Page: page, assets: s.assets,
		// An error may be that who asks is not known: asking again would count as
		// another wrong password.
		Operator: kind != "error" && s.operator(r),
	}
	if s.brand.logo != "" {
		f.Logo = prefix + s.brand.logo
	}
	return f
}

// operator reports whether who asks may see what is the operator's.
func (s *Site) operator(r *http.Request) bool { return s.o.Operator == nil || s.o.Operator(r) }

// row is a release on a page.
type row struct {
	feed.Release
	Href, Torrent string       // within the site
	Metalink      string       // within the site
	Direct        string       // the file itself; empty for a directory
	MagnetLink    template.URL // safe: made of escaped parts, and checked for its scheme
	Files         int
}

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
	out.Metalink = s.o.FileURL(root(base), r.Name) + feed.MetalinkExt
	if r.IsFile {
		out.Direct = s.o.FileURL(root(base), r.Name)
	}
	if strings.HasPrefix(out.Magnet, "magnet:?") {
		out.MagnetLink = template.URL(out.Magnet)
	}
	return out
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

// render answers with a page, which is whole before a byte of it is sent.
func (s *Site) render(w http.ResponseWriter, r *http.Request, status int, f frame) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, f.Kind+".html", f); err != nil {
		s.o.Log.Error("a page cannot be rendered", "path", f.Kind, "err", err)
		text(w, http.StatusInternalServerError, "This page cannot be shown right now.")
		return
	}
	compressed(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(b.Len()))
		w.WriteHeader(status)
		w.Write(b.Bytes())
	})).ServeHTTP(w, r)
}
