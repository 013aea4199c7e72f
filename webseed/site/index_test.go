package site

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
	"dropseed/publisher/feed"
	"dropseed/watcher"
)

var (
	rowName    = regexp.MustCompile(`<h2><a class="name" href="[^"]*"><bdi>([^<]*)</bdi>`)
	formField  = regexp.MustCompile(`<input[^>]* name="([^"]*)"[^>]* value="([^"]*)"`)
	formChoice = regexp.MustCompile(`(?s)<select name="([^"]*)">(.*?)</select>`)
	option     = regexp.MustCompile(`<option(?: value="([^"]*)")?( selected)?>([^<]*)</option>`)
	nextLink   = regexp.MustCompile(`rel="next" href="([^"]*)"`)
)

// names are the releases that a page lists, in its order.
func names(body string) []string {
	var list []string
	for _, m := range rowName.FindAllStringSubmatch(body, -1) {
		list = append(list, html.UnescapeString(m[1]))
	}
	return list
}

// submit sends the form of the front page as a browser without scripts does: with
// every field that it has, and some of them changed.
func (f *fixture) submit(t *testing.T, page answer, changes ...string) answer {
	t.Helper()
	form := page.body[strings.Index(page.body, `<form class="tools"`):]
	form = form[:strings.Index(form, "</form>")]
	values := make(url.Values)
	for _, m := range formField.FindAllStringSubmatch(form, -1) {
		values.Set(m[1], html.UnescapeString(m[2]))
	}
	for _, m := range formChoice.FindAllStringSubmatch(form, -1) {
		for i, o := range option.FindAllStringSubmatch(m[2], -1) {
			value := html.UnescapeString(o[1])
			if !strings.Contains(o[0], "value=") {
				value = html.UnescapeString(o[3])
			}
			if i == 0 || o[2] != "" {
				values.Set(m[1], value)
			}
		}
	}
	for i := 0; i < len(changes); i += 2 {
		if !values.Has(changes[i]) {
			t.Errorf("the form has no %s: %v", changes[i], values)
		}
		values.Set(changes[i], changes[i+1])
	}
	return f.get(t, "/?"+values.Encode())
}

func TestCatalogWorksWithoutScripts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	put := func(source, name string, size int64) {
		f.commit(t, watcher.Tree{Source: source, Name: name, Files: []watcher.File{{Path: name, Size: size}}})
	}
	put("isos & more", "beta one", 20)
	put("data", "Alpha one", 30)
	put("data", "gamma one", 10)
	put("data", "delta two", 40)
	page := f.get(t, "/")
	check := func(what string, page answer, want ...string) answer {
		t.Helper()
		if got := names(page.body); page.StatusCode != 200 || !slices.Equal(got, want) {
			t.Errorf("%s: status %d, %q, want %q", what, page.StatusCode, got, want)
		}
		return page
	}
	check("at first", page, "delta two", "gamma one", "Alpha one", "beta one")
	check("oldest", f.submit(t, page, "sort", "oldest"), "beta one", "Alpha one", "gamma one", "delta two")
	check("by name", f.submit(t, page, "sort", "name"), "Alpha one", "beta one", "delta two", "gamma one")
	check("by size", f.submit(t, page, "sort", "size"), "delta two", "Alpha one", "beta one", "gamma one")
	check("by peers", f.submit(t, page, "sort", "peers"), "delta two", "gamma one", "Alpha one", "beta one")
	check("of a source", f.submit(t, page, "source", "isos & more"), "beta one")
	check("of no source", f.get(t, "/?source=gone"))
	wantAll(t, f.get(t, "/?source=gone"), 200, "Nothing matches in <bdi>gone</bdi>")

	// What was chosen stays chosen when something else is.
	found := check("a search", f.submit(t, page, "q", "ONE"), "gamma one", "Alpha one", "beta one")
	found = check("a search by size", f.submit(t, found, "sort", "size"), "Alpha one", "beta one", "gamma one")
	found = check("a search by size of a source", f.submit(t, found, "source", "data"), "Alpha one", "gamma one")
	wantAll(t, found, 200, "Results for “<bdi>ONE</bdi>”", "2 matches", `<option value="size" selected>`, `<option selected>data</option>`, `value="ONE"`,
		`<link rel="alternate" type="application/rss+xml" title="RSS" href="/feed.rss?q=ONE&amp;sort=size&amp;source=data">`,
		`type="application/atom+xml" title="Atom" href="/feed.atom?q=ONE`, `type="application/feed+json" title="JSON feed" href="/feed.json?q=ONE`, `href="/">Show all</a>`)

	part := check("a part", f.get(t, "/?limit=1&sort=name&q=one"), "Alpha one")
	for _, want := range []string{"beta one", "gamma one"} {
		m := nextLink.FindStringSubmatch(part.body)
		if m == nil {
			t.Fatal("there is no next page")
		}
		part = check("the next part", f.get(t, "/"+html.UnescapeString(m[1])), want)
	}
	if nextLink.MatchString(part.body) {
		t.Error("there is more after the last part")
	}
	check("the form keeps the limit", f.submit(t, part), "Alpha one")
	wantAll(t, page, 200, `<link rel="alternate" type="application/rss+xml" title="RSS" href="/feed.rss">`)

	// One source is nothing to choose from.
	for _, name := range []string{"beta one"} {
		rel, _ := f.catalog.Latest(name)
		if err := f.catalog.Retire(rel.InfoHash); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(f.get(t, "/").body, `name="source"`) {
		t.Error("there is a choice of one source")
	}
}

func TestReleasePageHasEveryWay(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	old := f.publish(t, "disk.iso", 7, "")
	rel := f.publish(t, "disk.iso", 5_000_000, "")
	hash := rel.InfoHash.HexString()
	a := f.get(t, "/releases/disk.iso")
	wantAll(t, a, 200,
		`<a class="way main" href="magnet:?xt=urn:btih:`+hash, `<a class="way" href="/files/disk.iso" download>`, `data-copy="magnet:?xt=urn:btih:`+hash,
		`href="/torrents/`+hash+`.torrent">.torrent file`, `href="/files/disk.iso.meta4">Metalink`,
		`<link rel="alternate" type="application/x-bittorrent" href="/torrents/`+hash+`.torrent">`, `<link rel="alternate" type="application/metalink4+xml" href="/files/disk.iso.meta4">`,
		"<pre>transmission-cli -w . "+f.URL+"/torrents/"+hash+".torrent</pre>", "<pre>qbittorrent "+f.URL+"/torrents/"+hash+".torrent</pre>",
		"<pre>curl -C - -o disk.iso "+f.URL+"/files/disk.iso</pre>", `src="/releases/disk.iso/qr.svg"`,
		"Earlier versions", old.InfoHash.HexString(), `data-live="release.swarm.seeders" data-format="count">12<`, `data-live="release.copies" data-format="copies">1.00<`,
		`<section id="charts" data-release="`+hash+`"`, `<section id="swarm" data-release="`+hash+`"`, `<body data-page="release" data-release="`+hash+`">`,
	)
	if strings.Contains(a.body, "/torrents/"+old.InfoHash.HexString()) {
		t.Error("an earlier version can be downloaded")
	}
	for _, m := range regexp.MustCompile(`<button[^>]*class="copy[^>]*>`).FindAllString(a.body, -1) {
		if !strings.Contains(m, " hidden>") {
			t.Errorf("%s does nothing without scripts", m)
		}
	}
}

func TestChecksums(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	sums := [][32]byte{{0xab, 1}, {0xcd, 2}}
	put := func(name string, paths ...string) {
		tree := watcher.Tree{Source: "src", Name: name}
		for _, p := range paths {
			tree.Files = append(tree.Files, watcher.File{Path: p, Size: 1})
		}
		digest := tree.Digest()
		if _, err := f.catalog.Put(catalog.New{InfoHash: infohash.T(digest[:20]), PieceLength: 1 << 20, Torrent: []byte("de"), Tree: tree, SHA256: sums[:len(paths)]}); err != nil {
			t.Fatal(err)
		}
	}
	put("it's.iso", "it's.iso")
	put("a\nb", "a\nb")
	put("set", "set/a", "set/b")
	first := fmt.Sprintf("%x", sums[0])
	wantAll(t, f.get(t, "/releases/it%27s.iso"), 200, "<code>"+first+"</code>", `data-copy="`+first+`"`,
		html.EscapeString(`echo '`+first+`  it'\''s.iso' | sha256sum -c`))
	wantAll(t, f.get(t, "/releases/set"), 200, fmt.Sprintf("<code>%x</code>", sums[1]), "curl -s "+f.URL+"/SHA256SUMS | sha256sum -c --ignore-missing")
	if a := f.get(t, "/releases/a%0Ab"); a.StatusCode != 200 || strings.Contains(a.body, "sha256sum") {
		t.Errorf("status %d: a line to check a name of two lines", a.StatusCode)
	}
}

func TestQRCodeIsAPicture(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.publish(t, "a b", 1, "")
	a := f.get(t, "/releases/a%20b/qr.svg")
	wantAll(t, a, 200, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 `, `h7v1h-7z`)
	if a.Header.Get("Content-Type") != "image/svg+xml" {
		t.Errorf("%v", a.Header)
	}
	wantAll(t, f.get(t, "/releases/nothing/qr.svg"), 404)
	f.base = "https://x.example/" + strings.Repeat("long/", 1000)
	wantAll(t, f.get(t, "/releases/a%20b/qr.svg"), 404, "too long")
}

func TestOperatorAloneSeesWhatIsTheOperators(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.publish(t, "a", 1, "")
	f.pending = []Pending{{Name: "secret.iso", State: Queued}}
	o := f.site.o
	o.Operator = func(r *http.Request) bool { return r.Header.Get("X-Test") == "operator" }
	f.site = New(o)
	f.Config.Handler = f.site
	for _, page := range []string{"/", "/releases/a", "/status"} {
		a := f.get(t, page)
		for _, part := range []string{"secret.iso", "data-live", `id="pending"`, `id="charts"`, `id="swarm"`, `href="/status"`} {
			if strings.Contains(a.body, part) {
				t.Errorf("%s shows %s to everybody", page, part)
			}
		}
	}
	wantAll(t, f.get(t, "/status"), 403, "for who runs this server")
	wantAll(t, f.fetch(t, "GET", "/", "X-Test", "operator"), 200, "secret.iso", `id="pending"`, `href="/status"`)
	wantAll(t, f.fetch(t, "GET", "/status", "X-Test", "operator"), 200, "secret.iso", `<section id="charts" data-release=""`, `data-live="stats.releases" data-format="count">1<`,
		`data-live="stats.size" data-format="bytes">1 B<`, `data-live="stats.rates.peers" data-format="rate">0 B/s<`, `data-live="stats.peers_share" data-format="percent">0.0 %<`,
		`data-live="stats.copies" data-format="copies">0.00<`, `data-page="status"`, "Ready")
}

// Every page has what readers that see nothing go by.
func TestPagesHaveLandmarks(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.publish(t, "tree", 1, "a", "b")
	f.pending = []Pending{{Name: "x", State: Hashing, Done: 1, Total: 2}}
	heading := regexp.MustCompile(`<h([1-6])[ >]`)
	for _, page := range []string{"/", "/?q=tree", "/?q=none", "/releases/tree", "/status", "/nothing"} {
		a := f.get(t, page)
		for _, part := range []string{`<html lang="en"`, `<a class="skip" href="#main">`, `<header `, `<main id="main"`, `<footer `, `<div id="said" role="status"`, "<title>"} {
			if strings.Count(a.body, part) != 1 {
				t.Errorf("%s has %d of %s", page, strings.Count(a.body, part), part)
			}
		}
		last := 0
		for i, m := range heading.FindAllStringSubmatch(a.body, -1) {
			level := int(m[1][0] - '0')
			if (i == 0) != (level == 1) || level > last+1 {
				t.Errorf("%s: the heading %d of level %d comes after one of level %d", page, i, level, last)
			}
			last = level
		}
		if tables := strings.Count(a.body, "<table"); tables != strings.Count(a.body, "<caption") || tables != strings.Count(a.body, "<thead") {
			t.Errorf("%s has tables without captions or headers", page)
		}
		if ids := regexp.MustCompile(` id="([^"]*)"`).FindAllString(a.body, -1); len(slices.Compact(slices.Sorted(slices.Values(ids)))) != len(ids) {
			t.Errorf("%s: ids are not unique: %v", page, ids)
		}
	}
}

// What a page weighs, without what browsers keep of it.
func TestPagesAreSmall(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var paths []string
	for i := range 3 * maxFiles {
		paths = append(paths, fmt.Sprintf("a folder of the year 2026/and one of its months/picture number %d.tiff", i))
	}
	f.publish(t, "many", 1, paths...)
	for i := range maxLimit {
		f.publish(t, fmt.Sprintf("A release with a name that is rather long, as they are (%d) [x86_64].tar.zst", i), 1, "")
	}
	for _, page := range []string{"/", "/?limit=100", "/releases/many", "/status", "/api/"} {
		if a := f.fetch(t, "GET", page); a.StatusCode != 200 || len(a.body) > 200_000 {
			t.Errorf("%s: status %d, %d bytes", page, a.StatusCode, len(a.body))
		}
		if a := f.fetch(t, "GET", page, "Accept-Encoding", "gzip"); len(a.body) > 30_000 {
			t.Errorf("%s: %d bytes compressed", page, len(a.body))
		}
	}
}

// large is a catalog of 10,000 releases as a Site sees it.
func large(tb testing.TB) *Site {
	tb.Helper()
	f := newFixture(tb)
	for i := range 10_000 {
		name := fmt.Sprintf("Some Distribution %d.%d desktop amd64 (%d).iso", i%30, i%7, i)
		_, err := f.catalog.Put(catalog.New{
			InfoHash: infohash.T{byte(i), byte(i >> 8), 1}, PieceLength: 1 << 20, Torrent: []byte("de"),
			Tree: watcher.Tree{Source: fmt.Sprint("source", i%3), Name: name, Files: []watcher.File{{Path: name, Size: int64(i) * 1e6}}},
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	o := f.site.o
	o.Listing = feed.New(feed.Options{
		WebseedURL: func(base string, r catalog.Release) string { return base + "/webseed/" + r.InfoHash.HexString() + "/" },
		FileURL:    o.FileURL,
		Magnet: func(base string, r catalog.Release) string { // as long as real ones
			tracker := url.QueryEscape(base + "/announce")
			return "magnet:?xt=urn:btih:" + r.InfoHash.HexString() + "&dn=" + url.QueryEscape(r.Name) + "&tr=" + tracker + "&tr=" + tracker + "&ws=" + tracker + url.QueryEscape(r.Name)
		},
		TorrentSize: func(string, catalog.Release) int64 { return 1 },
		Swarm:       func(ih infohash.T) feed.Swarm { return feed.Swarm{Seeders: int(ih[0]), Leechers: int(ih[1])} },
		Sent:        func(infohash.T) feed.Sent { return feed.Sent{Peers: 5_000_000, Webseed: 1000} },
	})
	return New(o)
}

// BenchmarkPage is the server's part of a page's first paint, with 10,000 releases.
func BenchmarkPage(b *testing.B) {
	s := large(b)
	for _, bb := range []struct{ name, target string }{
		{"first", "/"}, {"most", "/?limit=100"}, {"search", "/?q=distribution+12"}, {"last", "/?offset=9950"}, {"name", "/?sort=name"},
		{"peers", "/?sort=peers"}, {"size", "/?sort=size&source=source1"}, {"nothing", "/?q=not+there"},
	} {
		for _, coding := range []string{"", "gzip"} {
			b.Run(strings.TrimSuffix(bb.name+"/"+coding, "/"), func(b *testing.B) {
				b.ReportAllocs()
				size := 0
				for b.Loop() {
					r := httptest.NewRequest("GET", bb.target, nil)
					r.Header.Set("Accept-Encoding", coding)
					w := httptest.NewRecorder()
					s.ServeHTTP(w, r)
					if w.Code != 200 {
						b.Fatal(w.Code)
					}
					size = w.Body.Len()
				}
				b.ReportMetric(float64(size), "page-B")
			})
		}
	}
}
