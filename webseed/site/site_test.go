package site

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
	"dropseed/publisher/feed"
	"dropseed/watcher"
)

// fixture is a Site on a real catalog; its other parts are as plain as they can be.
type fixture struct {
	catalog *catalog.Catalog
	pending []Pending
	ready   error
	base    string // "": the request's Host
	site    *Site
	*httptest.Server
}

func newFixture(tb testing.TB) *fixture {
	tb.Helper()
	c, err := catalog.Open(tb.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	f := &fixture{catalog: c}
	f.site = New(Options{
		Catalog: c,
		Title:   "Example <mirror>",
		Version: "1.2.3",
		Listing: feed.New(feed.Options{
			WebseedURL: func(base string, r catalog.Release) string { return base + "/webseed/" + r.InfoHash.HexString() + "/" },
			Magnet: func(base string, r catalog.Release) string {
				return "magnet:?xt=urn:btih:" + r.InfoHash.HexString() + "&dn=" + url.QueryEscape(r.Name)
			},
			FileURL: func(base, path string) string { return base + "/files/" + url.PathEscape(path) },
			URLs: func(base string, r catalog.Release, path string) []string {
				return []string{base + "/webseed/" + r.InfoHash.HexString() + "/" + url.PathEscape(path), "https://mirror.example/" + url.PathEscape(path)}
			},
			TorrentSize: func(base string, r catalog.Release) int64 { return r.TorrentSize + 100 },
			Pieces:      func(r catalog.Release) ([]byte, error) { return make([]byte, 20*r.Pieces()), nil },
			Swarm:       func(infohash.T) feed.Swarm { return feed.Swarm{Seeders: 12, Leechers: 3, Completed: 4567} },
			Sent:        func(infohash.T) feed.Sent { return feed.Sent{Peers: 5_000_000, Webseed: 1000} },
		}),
		Base: func(r *http.Request) string {
			if f.base != "" {
				return f.base
			}
			return "http://" + r.Host
		},
		FileURL: func(base, path string) string {
			return base + "/files/" + strings.ReplaceAll(url.PathEscape(path), "%2F", "/")
		},
		Torrent: func(base string, r catalog.Release) ([]byte, error) {
			return []byte("torrent of " + r.Name + " for " + base), nil
		},
		Pending: func() []Pending { return f.pending },
		History: newHistory(tb, c),
		Swarm:   func(infohash.T) Swarm { return Swarm{Pieces: 1, Parts: 1} },
		Client:  func(r *http.Request) netip.Addr { return netip.MustParseAddrPort(r.RemoteAddr).Addr() },
		Ready:   func() error { return f.ready },
		Log:     slog.New(slog.DiscardHandler),
	})
	f.Server = httptest.NewServer(f.site)
	tb.Cleanup(f.Close)
	return f
}

// publish commits a release of some files (paths below its name; "": a single file).
func (f *fixture) publish(tb testing.TB, name string, size int64, paths ...string) catalog.Release {
	tb.Helper()
	tree := watcher.Tree{Source: "src", Name: name}
	for _, p := range paths {
		p = strings.TrimSuffix(name+"/"+p, "/")
		tree.Files = append(tree.Files, watcher.File{Path: p, Size: size})
	}
	return f.commit(tb, tree)
}

// commit publishes a tree whose files need not exist.
func (f *fixture) commit(tb testing.TB, tree watcher.Tree) catalog.Release {
	tb.Helper()
	digest := tree.Digest()
	r, err := f.catalog.Put(catalog.New{
		InfoHash: infohash.T(digest[:20]), PieceLength: 1 << 20, Torrent: []byte("de"), Tree: tree,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

type answer struct {
	*http.Response
	body string
}

func (f *fixture) get(tb testing.TB, path string) answer {
	tb.Helper()
	return f.do(tb, "GET", path)
}

func (f *fixture) do(tb testing.TB, method, path string) answer {
	tb.Helper()
	req, err := http.NewRequest(method, f.URL+path, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return f.send(tb, req)
}

func (f *fixture) send(tb testing.TB, req *http.Request) answer {
	tb.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return answer{resp, string(body)}
}

func wantAll(t *testing.T, a answer, status int, parts ...string) {
	t.Helper()
	if a.StatusCode != status {
		t.Errorf("%s: status %d, want %d", a.Request.URL, a.StatusCode, status)
	}
	for _, p := range parts {
		if !strings.Contains(a.body, p) {
			t.Errorf("%s has no %q in\n%s", a.Request.URL, p, a.body)
		}
	}
}

func TestIndexLinksToEverything(t *testing.T) {
	f := newFixture(t)
	file := f.publish(t, "my disk #1.iso", 5_000_000, "")
	f.publish(t, "data", 10, "a", "b")
	hash := file.InfoHash.HexString()
	wantAll(t, f.get(t, "/"), 200,
		`href="/releases/my%20disk%20%231.iso"`,
		`href="/torrents/`+hash+`.torrent"`,
		`href="magnet:?xt=urn:btih:`+hash+`&amp;dn=my&#43;disk&#43;%231.iso"`,
		`href="/files/my%20disk%20%231.iso"`,
		`href="/releases/data#files"`,
		"5.0 MB", "12 seeders", "3 leechers", "2 files", "2 releases",
	)
}

func TestReleasePage(t *testing.T) {
	f := newFixture(t)
	rel := f.publish(t, "data set", 10, "a b/c.csv", "-d'e")
	a := f.get(t, "/releases/data%20set")
	wantAll(t, a, 200,
		`href="/files/data%20set/a%20b/c.csv"`, `<span class="dir">a b/</span>c.csv`, rel.InfoHash.HexString(), "4,567", "2 files",
		`aria2c --seed-time=0 `+f.URL+`/torrents/`+rel.InfoHash.HexString()+`.torrent`,
		`curl -C - -o &#39;data set/a b/c.csv&#39; --create-dirs `+f.URL+`/files/data%20set/a%20b/c.csv`,
		"250050.00", // copies
	)
	for _, path := range []string{"/releases/", "/releases/data", "/releases/data%20set/", "/releases/%zz", "/releases/data%20set%2Fa"} {
		if path == "/releases/%zz" {
			continue // net/http answers 400 itself
		}
		wantAll(t, f.get(t, path), 404, "Not Found")
	}
}

func TestReleasePageShowsVeryManyFilesInParts(t *testing.T) {
	f := newFixture(t)
	paths := make([]string, 2*maxFiles+1)
	for i := range paths {
		paths[i] = fmt.Sprintf("f%04d", i)
	}
	f.publish(t, "many", 1, paths...)
	first, last := f.get(t, "/releases/many"), f.get(t, "/releases/many?offset=200")
	wantAll(t, first, 200, "f0099<", `href="?offset=100#files"`, "1–100 of 201")
	wantAll(t, last, 200, "f0200<", `href="?offset=100#files"`, "201–201 of 201")
	if strings.Contains(first.body, "f0100<") || strings.Contains(last.body, "f0199<") {
		t.Error("a page shows more than its part")
	}
	wantAll(t, f.get(t, "/releases/many?offset=999999"), 200, "f0200<")
}

func TestHostileNamesAreEscaped(t *testing.T) {
	f := newFixture(t)
	const name = `<script>alert("1")</script>'&\` + "\u202e\n.iso"
	f.publish(t, name, 1, "")
	f.publish(t, "dir", 1, `javascript:alert(1)`, `"><img src=x onerror=alert(1)>`)
	f.pending = []Pending{{Name: `<b>x`, Path: "<i>\xff", State: Problem, Reason: "<u>why"}}
	for _, path := range []string{"/", "/?q=%3Cscript%3E", "/?q=%22%3E%3Cscript%3E", "/releases/" + url.PathEscape(name), "/releases/dir", "/status", "/?source=%3Cscript%3E&q=%22", "/nothing/%3Cscript%3E"} {
		a := f.get(t, path)
		for _, bad := range []string{"<script>", "<img src=x", "<b>x", "<i>\xff", "<u>", "ZgotmplZ", `href="javascript`} {
			if strings.Contains(a.body, bad) {
				t.Errorf("%s holds %q", path, bad)
			}
		}
	}
	wantAll(t, f.get(t, "/"), 200, "&lt;script&gt;")
	wantAll(t, f.get(t, "/status"), 200, "&lt;u&gt;why")
	wantAll(t, f.get(t, "/releases/"+url.PathEscape(name)), 200, "&lt;script&gt;")
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{
		"a-b_c.iso": "a-b_c.iso", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "": "''", "a\nb": "'a\nb'", "~": "'~'", "*": "'*'",
	} {
		if got := shellQuote(in); got != want {
			t.Errorf("shellQuote(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestPagingOverTenThousandReleases(t *testing.T) {
	live := make([]*catalog.Release, 10_000)
	for i := range live {
		live[i] = &catalog.Release{Name: fmt.Sprintf("Release %d", i)}
	}
	for _, tt := range []struct {
		win         window
		first, last string
		n, total    int
	}{
		{window{limit: 50}, "Release 0", "Release 49", 50, 10_000},
		{window{limit: 100, offset: 9_950}, "Release 9950", "Release 9999", 50, 10_000},
		{window{limit: 50, offset: 10_000}, "", "", 0, 10_000},
		{window{limit: 50, query: "release 123"}, "Release 123", "Release 9123", 20, 20},
		{window{limit: 5, offset: 5, query: "123 RELEASE"}, "Release 1233", "Release 1237", 5, 20},
		{window{limit: 5, query: "nope"}, "", "", 0, 0},
	} {
		found, total := tt.win.find(slices.Clone(live), nil)
		if len(found) != tt.n || total != tt.total || tt.n > 0 && (found[0].Name != tt.first || found[tt.n-1].Name != tt.last) {
			t.Errorf("%+v: %d of %d", tt.win, len(found), total)
		}
	}
	f := newFixture(t)
	for i := range 120 {
		f.publish(t, fmt.Sprintf("r%03d", i), 1, "")
	}
	wantAll(t, f.get(t, "/"), 200, "r119", "1–50 of 120", `href="?offset=50"`)
	wantAll(t, f.get(t, "/?offset=50"), 200, "r069", `href="?offset=0"`, `href="?offset=100"`)
	wantAll(t, f.get(t, "/?offset=100"), 200, "r019", "101–120 of 120", `href="?offset=50"`)
	wantAll(t, f.get(t, "/?q=r0&limit=10"), 200, "100 matches", `href="?limit=10&amp;offset=10&amp;q=r0"`)
	wantAll(t, f.get(t, "/?offset=5000"), 200, "no more releases", `href="?offset=100"`)
	wantAll(t, f.get(t, "/?offset=-1&limit=x"), 200, "1–50 of 120")
}

func TestEmptyIndexSaysWhatToDo(t *testing.T) {
	f := newFixture(t)
	wantAll(t, f.get(t, "/"), 200, "Drop a file or a directory")
	wantAll(t, f.get(t, "/?q=x"), 200, "Nothing matches")
}

func TestPendingIsShownWithProgress(t *testing.T) {
	f := newFixture(t)
	f.pending = []Pending{
		{Name: "big.iso", Source: "src", State: Hashing, Done: 25, Total: 100, Since: time.Unix(1, 0).UTC()},
		{Name: "dir", Source: "src", Path: "dir/fifo", State: Problem, Reason: "it is a pipe"},
	}
	wantAll(t, f.get(t, "/"), 200, "big.iso", `<progress value="25" max="100" `, `<a href="/status">1 file or directory could not be published</a>`, `http-equiv="refresh"`)
	wantAll(t, f.get(t, "/status"), 200, "big.iso", `<progress value="25" max="100" `, "Not published", "it is a pipe", "dir/fifo")
	a := f.get(t, "/api/v1/pending")
	const want = `{"pending":[{"name":"big.iso","source":"src","state":"hashing","done":25,"total":100,"since":"1970-01-01T00:00:01Z"},` +
		`{"name":"dir","source":"src","path":"dir/fifo","state":"problem","reason":"it is a pipe","done":0,"total":0}],"total":2}` + "\n"
	if a.body != want {
		t.Errorf("got  %s\nwant %s", a.body, want)
	}
	f.pending = f.pending[1:]
	if a := f.get(t, "/"); strings.Contains(a.body, `http-equiv="refresh"`) {
		t.Error("the page reloads though nothing moves")
	}
	f.pending = make([]Pending, maxPending+7)
	wantAll(t, f.get(t, "/"), 200, "and 7 more")
	f.pending = nil
	wantAll(t, f.get(t, "/api/v1/pending"), 200, `{"pending":[],"total":0}`)
}

func TestAPIReleases(t *testing.T) {
	f := newFixture(t)
	for i := range 120 {
		f.publish(t, fmt.Sprintf("r%03d", i), 1, "a", "b")
	}
	f.base = "https://public.example/seed"
	type release struct {
		Name, Source string
		Info         string `json:"info_hash"`
		Torrent      string `json:"torrent_url"`
		Files        []struct {
			Path string
			Size int64
		}
	}
	for _, tt := range []struct {
		query    string
		n, total int
		first    string
	}{
		{"", 50, 120, "r119"},
		{"?limit=3&offset=1", 3, 120, "r118"},
		{"?limit=1000", 100, 120, "r119"},
		{"?offset=200", 0, 120, ""},
		{"?q=R00", 10, 10, "r009"},
		{"?q=nothing", 0, 0, ""},
	} {
		a := f.get(t, "/api/v1/releases"+tt.query)
		var got struct {
			Releases []release
			Total    int
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.Releases == nil {
			t.Fatalf("%q: %v in %s", tt.query, err, a.body)
		}
		if len(got.Releases) != tt.n || got.Total != tt.total || tt.n > 0 && got.Releases[0].Name != tt.first {
			t.Errorf("%q: %d of %d, %+v", tt.query, len(got.Releases), got.Total, got.Releases)
		}
	}
	rel, _ := f.catalog.Latest("r007")
	a := f.get(t, "/api/v1/releases/"+rel.InfoHash.HexString())
	var got release
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Name != "r007" || len(got.Files) != 2 || got.Files[1].Path != "r007/b" || a.Header.Get("Content-Type") != "application/json" ||
		got.Torrent != "https://public.example/seed/torrents/"+rel.InfoHash.HexString()+".torrent" {
		t.Errorf("got %+v", got)
	}
	wantAll(t, f.get(t, "/"), 200, `href="/seed/torrents/`, `action="/seed/"`)
}

func TestAPIRefusesWhatIsOutOfBounds(t *testing.T) {
	f := newFixture(t)
	for _, query := range []string{"limit=0", "limit=-1", "limit=x", "offset=-1", "offset=99999999999", "limit=", "q=" + strings.Repeat("x", maxQuery+1)} {
		a := f.get(t, "/api/v1/releases?"+query)
		var got problem
		parameter, _, _ := strings.Cut(query, "=")
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.StatusCode != 400 || got.Detail == "" || got.Parameter != parameter {
			t.Errorf("%.30s: status %d, %s", query, a.StatusCode, a.body)
		}
	}
}

func TestTorrents(t *testing.T) {
	f := newFixture(t)
	rel := f.publish(t, `über "x".iso`, 1, "")
	hash := rel.InfoHash.HexString()
	named := f.publish(t, strings.Repeat("ab", 20), 1, "")
	shadow := f.publish(t, hash, 1, "") // called like the info-hash of another
	want := "torrent of " + rel.Name + " for " + f.URL
	for path, want := range map[string]string{
		hash:                        want,
		strings.ToUpper(hash):       want,
		url.PathEscape(rel.Name):    want,
		named.Name:                  "torrent of " + named.Name + " for " + f.URL,
		shadow.InfoHash.HexString(): "torrent of " + shadow.Name + " for " + f.URL,
		"%" + fmt.Sprintf("%x", hash[:1]) + hash[1:]: want,
	} {
		a := f.get(t, "/torrents/"+path+".torrent")
		if a.StatusCode != 200 || a.body != want {
			t.Errorf("%s: status %d, %q", path, a.StatusCode, a.body)
		}
	}
	a := f.get(t, "/torrents/"+hash+".torrent")
	if got := a.Header.Get("Content-Type"); got != "application/x-bittorrent" {
		t.Errorf("Content-Type %q", got)
	}
	disp := a.Header.Get("Content-Disposition")
	if _, params, err := mime.ParseMediaType(strings.Replace(disp, `filename="_ber _x_.iso.torrent"; `, "", 1)); err != nil || params["filename"] != rel.Name+".torrent" {
		t.Errorf("Content-Disposition %s: %v, %v", disp, params, err)
	}
	if a.Header.Get("Access-Control-Allow-Origin") != "*" || a.Header.Get("ETag") == "" || a.ContentLength != int64(len(want)) {
		t.Errorf("headers %v", a.Header)
	}
	if head := f.do(t, "HEAD", "/torrents/"+hash+".torrent"); head.ContentLength != a.ContentLength || head.body != "" {
		t.Errorf("HEAD: %v", head.Header)
	}
	if a := f.do(t, "OPTIONS", "/torrents/"+hash+".torrent"); a.StatusCode != 204 || a.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("OPTIONS: status %d, %v", a.StatusCode, a.Header)
	}
	for _, path := range []string{"", ".torrent", hash, "nothing.torrent", strings.Repeat("0", 40) + ".torrent", "a/b.torrent"} {
		a := f.get(t, "/torrents/"+path)
		if a.StatusCode != 404 || a.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%q: status %d, %v", path, a.StatusCode, a.Header)
		}
	}
}

func TestRetiredReleasesAreGone(t *testing.T) {
	f := newFixture(t)
	rel := f.publish(t, "a", 1, "")
	if err := f.catalog.Retire(rel.InfoHash); err != nil {
		t.Fatal(err)
	}
	wantAll(t, f.get(t, "/torrents/"+rel.InfoHash.HexString()+".torrent"), 410, "retired")
	wantAll(t, f.get(t, "/api/v1/releases/"+rel.InfoHash.HexString()), 410, `"code":"release-retired"`)
	wantAll(t, f.get(t, "/api/v1/releases/"+strings.Repeat("0", 40)), 404, `"code":"release-not-found"`)
	wantAll(t, f.get(t, "/torrents/a.torrent"), 404)
	wantAll(t, f.get(t, "/releases/a"), 404)
	if a := f.get(t, "/"); strings.Contains(a.body, rel.InfoHash.HexString()) {
		t.Error("a retired release is listed")
	}
}

func TestHealth(t *testing.T) {
	f := newFixture(t)
	wantAll(t, f.get(t, "/healthz"), 200, "ok")
	wantAll(t, f.get(t, "/readyz"), 200, "ready")
	f.ready = errors.New("the first listing of src is not complete")
	wantAll(t, f.get(t, "/healthz"), 200, "ok")
	wantAll(t, f.get(t, "/readyz"), 503, "the first listing of src is not complete")
	f.site.o.Operator = func(*http.Request) bool { return false }
	if a := f.get(t, "/readyz"); a.StatusCode != 503 || strings.Contains(a.body, "src") {
		t.Errorf("who is no operator got status %d and %q", a.StatusCode, a.body)
	}
}

func TestErrorsFitTheirReader(t *testing.T) {
	f := newFixture(t)
	for _, tt := range []struct {
		method, path string
		status       int
		ctype        string
	}{
		{"GET", "/nothing", 404, "text/html; charset=utf-8"},
		{"GET", "//", 404, "text/html; charset=utf-8"},
		{"GET", "/releases", 404, "text/html; charset=utf-8"},
		{"POST", "/", 405, "text/html; charset=utf-8"},
		{"GET", "/api/nothing", 404, "application/problem+json"},
		{"GET", "/api/v1/releases/xyz", 404, "application/problem+json"},
		{"DELETE", "/api/v1/releases", 405, "application/problem+json"},
		{"GET", "/torrents/x.torrent", 404, "text/plain; charset=utf-8"},
		{"PUT", "/healthz", 405, "text/plain; charset=utf-8"},
	} {
		a := f.do(t, tt.method, tt.path)
		if a.StatusCode != tt.status || a.Header.Get("Content-Type") != tt.ctype {
			t.Errorf("%s %s: status %d, %s", tt.method, tt.path, a.StatusCode, a.Header.Get("Content-Type"))
		}
		if tt.status == 405 && a.Header.Get("Allow") == "" {
			t.Errorf("%s %s has no Allow", tt.method, tt.path)
		}
	}
}

func TestPagesAllowNothingFromElsewhere(t *testing.T) {
	f := newFixture(t)
	f.publish(t, "a", 1, "")
	for _, path := range []string{"/", "/releases/a", "/nothing"} {
		a := f.get(t, path)
		for key, want := range map[string]string{
			"Content-Security-Policy": contentPolicy,
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "no-referrer",
		} {
			if !strings.HasPrefix(a.Header.Get(key), want) {
				t.Errorf("%s: %s = %q", path, key, a.Header.Get(key))
			}
		}
		for _, m := range regexp.MustCompile(`(?:src|href|action)="([^"]*)"|url\(([^)]*)\)`).FindAllStringSubmatch(a.body, -1) {
			if link := m[1] + m[2]; !strings.HasPrefix(link, "/") && !strings.HasPrefix(link, "data:") && !strings.HasPrefix(link, "magnet:") && !strings.HasPrefix(link, "#") {
				t.Errorf("%s refers to %q", path, link)
			}
		}
		if strings.Contains(a.body, " style=") || strings.Contains(a.body, "<style") || regexp.MustCompile(`<script[^>]*>[^<]`).MatchString(a.body) {
			t.Errorf("%s holds what its policy forbids", path)
		}
	}
}

func FuzzRequests(f *testing.F) {
	fix := newFixture(f)
	rel := fix.publish(f, "a", 1, "")
	fix.publish(f, "d d", 1, "x", "y/z")
	for _, target := range []string{
		"/", "/?q=a&limit=1&offset=9", "/?offset=2147483647", "/releases/a", "/releases/a?offset=7", "/releases/%2e%2e", "/torrents/a.torrent",
		"/torrents/" + rel.InfoHash.HexString() + ".torrent", "/api/v1/releases?limit=99999", "/api/v1/releases/" + rel.InfoHash.HexString(),
		"/status", "/releases/a/qr.svg", "/releases//qr.svg", "/assets/style.css", "/?sort=peers&source=src", "/?sort=x&source=%ff",
		"/api/v1/pending", "/readyz", "/feed.rss?q=%00%1b&sort=name&source=src", "/feed.atom?limit=1&offset=1", "/feed.json?sort=peers", "/SHA256SUMS?q=a", "//", "/%00", "/api/v1/releases?q=%ff", "/torrents/%2F.torrent",
	} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") || u.Path == "/api/v1/events" { // which does not end
			return
		}
		w := httptest.NewRecorder()
		fix.site.ServeHTTP(w, &http.Request{Method: "GET", URL: u, Host: "h", RequestURI: target, Header: make(http.Header)})
		switch w.Code {
		case 200, 206, 307, 400, 404:
		default:
			t.Errorf("%q: status %d", target, w.Code)
		}
		if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") && !json.Valid(w.Body.Bytes()) {
			t.Errorf("%q: %s is no JSON", target, w.Body)
		}
	})
}
