package site

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// fetch sends a request with headers, and reads the body as it came.
func (f *fixture) fetch(tb testing.TB, method, path string, headers ...string) answer {
	tb.Helper()
	req, err := http.NewRequest(method, f.URL+path, nil)
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := (&http.Transport{DisableCompression: true}).RoundTrip(req)
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

func gunzip(tb testing.TB, body string) string {
	tb.Helper()
	z, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

var assetLink = regexp.MustCompile(`(?:href|src)="(/seed)?(/assets/[^"]+)"`)

func TestPagesLoadAssetsThatAreKeptForever(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.publish(t, "a", 1, "")
	seen := make(map[string]bool)
	for _, page := range []string{"/", "/releases/a", "/nothing"} {
		for _, m := range assetLink.FindAllStringSubmatch(f.get(t, page).body, -1) {
			seen[m[2]] = true
		}
	}
	if len(seen) < 3 {
		t.Errorf("pages load %v only", seen)
	}
	for path := range seen {
		a := f.fetch(t, "GET", path)
		if a.StatusCode != 200 || a.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" ||
			a.Header.Get("X-Content-Type-Options") != "nosniff" || a.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: status %d, %v", path, a.StatusCode, a.Header)
		}
		z := f.fetch(t, "GET", path, "Accept-Encoding", "br, gzip;q=0.8")
		switch z.Header.Get("Content-Encoding") {
		case "gzip":
			if gunzip(t, z.body) != a.body || z.Header.Get("Vary") != "Accept-Encoding" || a.Header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%s is something else when compressed: %v", path, z.Header)
			}
		case "":
			if len(a.body) > 2000 {
				t.Errorf("%s is not compressed", path)
			}
		}
		if refused := f.fetch(t, "GET", path, "Accept-Encoding", "gzip;q=0"); refused.body != a.body {
			t.Errorf("%s is compressed for who does not take it", path)
		}
		if head := f.fetch(t, "HEAD", path); head.ContentLength != int64(len(a.body)) || head.body != "" {
			t.Errorf("HEAD %s: %v", path, head.Header)
		}
		other := regexp.MustCompile(`\.[0-9a-f]{12}\.`).ReplaceAllString(path, ".000000000000.")
		if a := f.get(t, other); other == path || a.StatusCode != 404 || strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: status %d, %v", other, a.StatusCode, a.Header)
		}
	}
	for path, want := range map[string]string{"style.css": "text/css; charset=utf-8", "brand.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"} {
		if got := f.get(t, f.site.assets.asset(path)).Header.Get("Content-Type"); got != want {
			t.Errorf("%s is %q", path, got)
		}
	}
}

func TestPagesAreCompressed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for i := range 60 {
		f.publish(t, strings.Repeat("r", i+1), 1, "")
	}
	plain, small := f.fetch(t, "GET", "/"), f.fetch(t, "GET", "/", "Accept-Encoding", "gzip")
	if gunzip(t, small.body) != plain.body || len(small.body) > len(plain.body)/4 {
		t.Errorf("%d bytes, compressed %d", len(plain.body), len(small.body))
	}
	if plain.ContentLength != int64(len(plain.body)) || small.StatusCode != 200 || small.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("%v, compressed %v", plain.Header, small.Header)
	}
}

// Every answer has a policy, whatever its kind and status.
func TestEveryAnswerHasThePolicy(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	rel := f.publish(t, "a", 1, "")
	f.site = New(func() Options {
		o := f.site.o
		o.Brand.Logo = testLogo(t, "x.svg", `<svg xmlns="http://www.w3.org/2000/svg"/>`)
		return o
	}())
	f.Config.Handler = f.site
	hash := rel.InfoHash.HexString()
	for _, tt := range []struct {
		method, path string
		status       int
		policy       string
	}{
		{"GET", "/", 200, contentPolicy}, {"GET", "/?q=x", 200, contentPolicy}, {"GET", "/releases/a", 200, contentPolicy},
		{"GET", "/releases/a/qr.svg", 200, contentPolicy}, {"GET", "/releases/b", 404, contentPolicy}, {"GET", "/nothing", 404, contentPolicy},
		{"POST", "/", 405, contentPolicy}, {"GET", "/torrents/" + hash + ".torrent", 200, contentPolicy}, {"GET", "/torrents/x.torrent", 404, contentPolicy},
		{"GET", "/api/v1/releases", 200, contentPolicy}, {"GET", "/api/v1/nothing", 404, contentPolicy}, {"OPTIONS", "/api/v1/releases", 204, contentPolicy},
		{"GET", "/healthz", 200, contentPolicy}, {"GET", f.site.assets.asset("style.css"), 200, contentPolicy}, {"GET", "/assets/x", 404, contentPolicy},
		{"GET", f.site.assets.asset("logo.svg"), 200, logoPolicy}, {"GET", f.site.assets.asset("icon.svg"), 200, logoPolicy},
	} {
		a := f.do(t, tt.method, tt.path)
		if a.StatusCode != tt.status {
			t.Errorf("%s %s: status %d, want %d", tt.method, tt.path, a.StatusCode, tt.status)
		}
		for key, want := range map[string]string{
			"Content-Security-Policy": tt.policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := a.Header.Get(key); got != want {
				t.Errorf("%s %s: %s: %q, want %q", tt.method, tt.path, key, got, want)
			}
		}
	}
	for _, words := range []string{"unsafe-inline", "unsafe-eval", "*", "http:", "https:"} {
		if strings.Contains(contentPolicy, words) {
			t.Errorf("the policy of pages holds %q", words)
		}
	}
}

func TestAssetsAreWhole(t *testing.T) {
	t.Parallel()
	a := newAssetSet()
	for path, f := range a.files {
		if f.gzipped == nil {
			continue
		}
		z, err := gzip.NewReader(bytes.NewReader(f.gzipped))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(z); err != nil || !bytes.Equal(b, f.body) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
