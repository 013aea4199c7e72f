package site

import (
	"compress/gzip"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
	"dropseed/publisher/feed"
)

// getWith sends a GET with headers ("Key: value").
func (f *fixture) getWith(tb testing.TB, path string, headers ...string) answer {
	tb.Helper()
	req, err := http.NewRequest("GET", f.URL+path, nil)
	if err != nil {
		tb.Fatal(err)
	}
	for _, h := range headers {
		key, value, _ := strings.Cut(h, ": ")
		req.Header.Add(key, value)
	}
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

// titles are those of the items of an RSS feed.
func titles(t *testing.T, a answer) string {
	t.Helper()
	var doc struct {
		Items []struct {
			Title string `xml:"title"`
		} `xml:"channel>item"`
	}
	if err := xml.Unmarshal([]byte(a.body), &doc); err != nil {
		t.Fatalf("%v in status %d, %s", err, a.StatusCode, a.body)
	}
	var names []string
	for _, it := range doc.Items {
		names = append(names, it.Title)
	}
	return strings.Join(names, " ")
}

func TestFeedsHaveTheWindowOfTheAPI(t *testing.T) {
	f := newFixture(t)
	for i, name := range []string{"b", "C", "a", "d"} {
		f.publish(t, name, int64(10*(i%3)+1), "")
	}
	for query, want := range map[string]string{
		"": "d a C b", "?sort=newest": "d a C b", "?sort=oldest": "b C a d", "?sort=name": "a b C d", "?sort=size": "a C d b",
		"?sort=peers": "d a C b", "?limit=2": "d a", "?limit=2&offset=2": "C b", "?q=a": "a", "?source=src&limit=1": "d", "?source=Src": "",
		"?sort=name&limit=1&offset=3": "d", "?limit=1000": "d a C b",
	} {
		if got := titles(t, f.get(t, "/feed.rss"+query)); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
		var list struct{ Releases []struct{ Name string } }
		if err := json.Unmarshal([]byte(f.get(t, "/api/v1/releases"+query).body), &list); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, r := range list.Releases {
			names = append(names, r.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("API %s: %q, want %q", query, got, want)
		}
	}
	for _, bad := range []string{"sort=random", "sort=", "limit=0", "offset=x", "source=" + strings.Repeat("x", maxQuery+1)} {
		for _, path := range []string{"/feed.rss", "/feed.atom", "/feed.json", "/SHA256SUMS", "/api/v1/releases"} {
			if a := f.get(t, path+"?"+bad); a.StatusCode != 400 {
				t.Errorf("%s?%s: status %d", path, bad, a.StatusCode)
			}
		}
		if a := f.get(t, "/?"+bad); a.StatusCode != 200 {
			t.Errorf("/?%s: status %d", bad, a.StatusCode)
		}
	}
}

func TestFeedsSayWhatTheyAre(t *testing.T) {
	f := newFixture(t)
	f.base = "https://public.example/seed"
	for i := range 3 {
		f.publish(t, fmt.Sprint("r", i), 1, "")
	}
	const query = "?limit=2&q=r&sort=name&source=src"
	for path, want := range map[string][]string{
		"/feed.rss": {"application/rss+xml; charset=utf-8", `<title>Example &lt;mirror&gt;: r (src)</title>`, `<link>https://public.example/seed/?limit=2&amp;q=r&amp;sort=name&amp;source=src</link>`,
			`rel="self" type="application/rss+xml" href="https://public.example/seed/feed.rss?limit=2&amp;q=r&amp;sort=name&amp;source=src"`, `rel="next"`, `offset=2`},
		"/feed.atom": {"application/atom+xml; charset=utf-8", `href="https://public.example/seed/feed.atom?limit=2&amp;q=r&amp;sort=name&amp;source=src"`},
		"/feed.json": {"application/feed+json", `"feed_url": "https://public.example/seed/feed.json?limit=2&q=r&sort=name&source=src"`, `"next_url"`},
	} {
		a := f.get(t, path+query)
		wantAll(t, a, 200, want[1:]...)
		if a.Header.Get("Content-Type") != want[0] || a.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %v", path, a.Header)
		}
		if strings.Contains(a.body, f.URL) {
			t.Errorf("%s has an address that is not the public one:\n%s", path, a.body)
		}
		if head := f.do(t, "HEAD", path+query); head.StatusCode != 200 || head.body != "" || head.Header.Get("ETag") != a.Header.Get("ETag") {
			t.Errorf("HEAD %s: %v", path, head.Header)
		}
		if post := f.do(t, "POST", path); post.StatusCode != 405 {
			t.Errorf("POST %s: status %d", path, post.StatusCode)
		}
	}
}

func TestFeedsAreSentOnlyWhenTheyChanged(t *testing.T) {
	f := newFixture(t)
	f.publish(t, "a", 1, "")
	other := f.publish(t, "b", 1, "")
	for _, path := range []string{"/feed.rss", "/feed.atom", "/feed.json", "/feed.rss?q=a", "/SHA256SUMS", "/SHA256SUMS?q=a"} {
		tag := f.get(t, path).Header.Get("ETag")
		if tag == "" {
			t.Fatalf("%s has no ETag", path)
		}
		for _, match := range []string{tag, strings.TrimPrefix(tag, "W/"), `"x", ` + tag, "*"} {
			if a := f.getWith(t, path, "If-None-Match: "+match); a.StatusCode != 304 || a.body != "" || a.Header.Get("ETag") != tag {
				t.Errorf("%s, %s: status %d, %v", path, match, a.StatusCode, a.Header)
			}
		}
		// The ETag decides, whatever the time is.
		if a := f.getWith(t, path, `If-None-Match: "x"`, "If-Modified-Since: "+time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)); a.StatusCode != 200 {
			t.Errorf("%s: status %d", path, a.StatusCode)
		}
		same := f.get(t, path)
		if same.Header.Get("ETag") != tag {
			t.Errorf("%s: the ETag changes by itself", path)
		}
	}
	all, some := f.get(t, "/feed.rss").Header.Get("ETag"), f.get(t, "/feed.rss?q=a").Header.Get("ETag")
	if err := f.catalog.Retire(other.InfoHash); err != nil {
		t.Fatal(err)
	}
	if a := f.getWith(t, "/feed.rss", "If-None-Match: "+all); a.StatusCode != 200 || strings.Contains(a.body, "<title>b</title>") {
		t.Errorf("a release was retired: status %d", a.StatusCode)
	}
	if a := f.getWith(t, "/feed.rss?q=a", "If-None-Match: "+some); a.StatusCode != 304 {
		t.Errorf("what matches is the same: status %d", a.StatusCode)
	}
}

// A start may bring other trackers and webseeds, which the catalog knows nothing of.
func TestFeedsAreNewAfterAStart(t *testing.T) {
	f := newFixture(t)
	rel := f.publish(t, "a", 1, "")
	c, err := f.catalog.Content(rel.InfoHash)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(path, header, value string) *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "http://x"+path, nil)
		r.Header.Set(header, value)
		if path == "/files/a.meta4" {
			f.site.ServeMetalink(w, r, c, feed.Whole)
		} else {
			f.site.ServeHTTP(w, r)
		}
		return w
	}
	first := time.Now().Add(-time.Hour).Truncate(time.Second)
	for _, path := range []string{"/feed.rss", "/feed.atom", "/feed.json", "/files/a.meta4"} {
		f.site.o.Started = first
		tag := ask(path, "X", "").Header().Get("ETag")
		now := time.Now().Add(time.Second).UTC().Format(http.TimeFormat)
		for header, value := range map[string]string{"If-None-Match": tag, "If-Modified-Since": now} {
			f.site.o.Started = first
			if w := ask(path, header, value); w.Code != 304 {
				t.Errorf("%s: status %d with %s: %s", path, w.Code, header, value)
			}
			f.site.o.Started = time.Now().Add(time.Minute)
			if w := ask(path, header, value); w.Code != 200 {
				t.Errorf("%s after a start: status %d with %s: %s", path, w.Code, header, value)
			}
		}
	}
}

// TestTimesOfFeedsMissNothing: HTTP counts whole seconds, so a feed that may
// still change in this second must not be said to be of it.
func TestTimesOfFeedsMissNothing(t *testing.T) {
	f := newFixture(t)
	ask := func(modified time.Time, since string) (status int, last string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/feed.rss", nil)
		if since != "" {
			r.Header.Set("If-Modified-Since", since)
		}
		f.site.unchanged(w, r, version{`W/"x"`, modified})
		return w.Code, w.Header().Get("Last-Modified")
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 600e6, time.UTC)
	_, last := ask(at, "")
	if last != "Fri, 02 Jan 2026 03:04:06 GMT" {
		t.Errorf("Last-Modified: %s", last)
	}
	for since, want := range map[string]int{
		last: 304, at.Format(http.TimeFormat): 200, // it was asked for before, in the same second
		at.Add(time.Hour).Format(http.TimeFormat): 304, "nonsense": 200,
	} {
		if got, _ := ask(at, since); got != want {
			t.Errorf("since %s: status %d, want %d", since, got, want)
		}
	}
	if _, last := ask(time.Now().Add(time.Minute), ""); last != "" {
		t.Errorf("Last-Modified in the future: %s", last)
	}
	if _, last := ask(time.Time{}, ""); last != "" {
		t.Errorf("Last-Modified of nothing: %s", last)
	}
}

func TestFeedsAreCompressedForWhoTakesIt(t *testing.T) {
	f := newFixture(t)
	for i := range 60 {
		f.publish(t, fmt.Sprint("release ", i), 1, "")
	}
	plain := f.get(t, "/feed.rss")
	if plain.Header.Get("Content-Encoding") != "" || !strings.Contains(plain.Header.Get("Vary"), "Accept-Encoding") {
		t.Errorf("plain: %v", plain.Header)
	}
	small := f.getWith(t, "/feed.rss", "Accept-Encoding: gzip")
	z, err := gzip.NewReader(strings.NewReader(small.body))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(z)
	if err != nil || string(body) != plain.body || small.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("%v, %v", err, small.Header)
	}
	t.Logf("50 items: %d bytes, %d compressed", len(plain.body), len(small.body))
	if n := strings.Count(plain.body, "<item>"); n != defaultLimit {
		t.Errorf("%d items", n)
	}
}

func TestSumsAreSorted(t *testing.T) {
	f := newFixture(t)
	f.publish(t, "b", 1, "x", "y")
	f.publish(t, "a", 1, "")
	// The fixture's releases have no sums, so each is a line that says so.
	a := f.get(t, "/SHA256SUMS")
	if a.StatusCode != 200 || a.body != "# not known: a\n# not known: b\n" || a.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("status %d, %q, %v", a.StatusCode, a.body, a.Header)
	}
	if a := f.get(t, "/SHA256SUMS?q=b"); a.body != "# not known: b\n" {
		t.Errorf("%q", a.body)
	}
}

func TestMetalinkIsServed(t *testing.T) {
	f := newFixture(t)
	rel := f.publish(t, `ü "x".iso`, 3<<20, "")
	content, err := f.catalog.Content(rel.InfoHash)
	if err != nil {
		t.Fatal(err)
	}
	serve := func(header ...string) *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "http://host:1/files/x.meta4", nil)
		if len(header) > 0 {
			r.Header.Set(header[0], header[1])
		}
		f.site.ServeMetalink(w, r, content, feed.Whole)
		return w
	}
	w := serve()
	h := w.Header()
	if w.Code != 200 || h.Get("Content-Type") != "application/metalink4+xml" || !strings.Contains(h.Get("Content-Disposition"), `filename="_ _x_.iso.meta4"`) ||
		h.Get("ETag") == "" || strings.Count(w.Body.String(), "<hash>") != rel.Pieces() || !strings.Contains(w.Body.String(), ">http://host:1/webseed/") {
		t.Errorf("status %d, %v\n%s", w.Code, h, w.Body)
	}
	if again := serve("If-None-Match", h.Get("ETag")); again.Code != 304 {
		t.Errorf("status %d", again.Code)
	}
}

// BenchmarkTenThousand asks for what has to look at each of 10,000 releases.
func BenchmarkTenThousand(b *testing.B) {
	live := make([]*catalog.Release, 10_000)
	for i := range live {
		live[i] = &catalog.Release{Name: fmt.Sprintf("Release %d.iso", i*7919%10_000), InfoHash: infohash.T{byte(i), byte(i >> 8)}, Size: int64(i * 7919 % 10_000), Source: "src"}
	}
	peers := func(ih infohash.T) int { return int(ih[0]) }
	for _, query := range []string{"", "q=99", "sort=name", "sort=size", "sort=peers", "source=src&sort=oldest"} {
		b.Run("?"+query, func(b *testing.B) {
			v, _ := url.ParseQuery(query)
			win, err := parseWindow(v)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				found, _ := win.find(slices.Clone(live), peers)
				stamp(time.Time{}, found)
			}
		})
	}
	b.Run("SHA256SUMS not modified", func(b *testing.B) {
		for b.Loop() {
			stamp(time.Time{}, live)
		}
	})
}
