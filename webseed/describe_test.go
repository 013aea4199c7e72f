package webseed

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"dropseed/publisher/catalog"
)

// describing is a server that has Metalink documents and Link headers.
func describing(t *testing.T, f *fixture, from int64) *httptest.Server {
	t.Helper()
	o := f.server.o
	o.MetalinkFrom = from
	o.Metalink = func(w http.ResponseWriter, r *http.Request, c *catalog.Content, i int) {
		fmt.Fprintf(w, "metalink of %s %d", c.Name, i)
	}
	o.Links = func(r *http.Request, c *catalog.Content, i int) []string {
		return []string{"<http://x/t>; rel=describedby", fmt.Sprintf("<http://mirror/%s>; rel=duplicate", c.Files[i].Path)}
	}
	f.server = New(o)
	return f.start(t)
}

func TestMetalinkIsBesideTheFiles(t *testing.T) {
	f := newFixture(t)
	f.publish(t, map[string]string{"a ö.iso": "a"})
	f.publish(t, map[string]string{"real.iso": "r"})
	f.publish(t, map[string]string{"real.iso.meta4": "a real file"})
	f.publish(t, map[string]string{"d/x": "x", "d/y.meta4": "a real file", "d/y": "y"})
	s := describing(t, f, 0)
	for target, want := range map[string]string{
		"/files/a%20%C3%B6.iso.meta4":   "metalink of a ö.iso -1",
		"/files/a%20%C3%B6.iso.meta4?x": "metalink of a ö.iso -1",
		"/files/real.iso.meta4":         "a real file",
		"/files/real.iso.meta4.meta4":   "metalink of real.iso.meta4 -1",
		"/files/d.meta4":                "metalink of d -1",
		"/files/d/x.meta4":              "metalink of d 0",
		"/files/d/y.meta4":              "a real file",
		"/files/d/y.meta4.meta4":        "metalink of d 2",
	} {
		if a := get(t, s, "GET", target); a.StatusCode != 200 || a.body != want {
			t.Errorf("%s: status %d, %q, want %q", target, a.StatusCode, a.body, want)
		}
	}
	for _, target := range []string{"/files/.meta4", "/files/no.meta4", "/files/d/no.meta4", "/files/d/.meta4", "/files/%2F.meta4", "/files/..meta4"} {
		if a := get(t, s, "GET", target); a.StatusCode != 404 {
			t.Errorf("%s: status %d, %q", target, a.StatusCode, a.body)
		}
	}
}

func TestMetalinkIsSentToWhoNamesIt(t *testing.T) {
	const aria2 = "Accept: */*,application/metalink4+xml,application/metalink+xml"
	f := newFixture(t)
	f.publish(t, map[string]string{"large": "0123456789"})
	f.publish(t, map[string]string{"small": "012345678"})
	f.publish(t, map[string]string{"d/large": "0123456789"})
	f.publish(t, map[string]string{"large & odd": "0123456789"})
	s := describing(t, f, 10)
	for _, tt := range []struct {
		method, name string
		headers      []string
		metalink     bool
	}{
		{"GET", "large", []string{aria2}, true},
		{"GET", "large", []string{"Accept: text/html", "Accept: application/metalink4+xml;q=0.5"}, true},
		{"GET", "large", nil, false},
		{"GET", "large", []string{"Accept: */*"}, false},
		{"GET", "large", []string{"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, false}, // a browser
		{"GET", "large", []string{"Accept: */*,application/metalink4+xml;q=0.0"}, false},
		{"GET", "large", []string{"Accept: */*, application/metalink+xml"}, false}, // version 3, which there is not
		{"GET", "large", []string{aria2, "Range: bytes=2-"}, false},
		{"HEAD", "large", []string{aria2}, false},
		{"GET", "small", []string{aria2}, false},
		{"GET", "d/large", []string{aria2}, false},
		{"GET", "large%20%26%20odd", []string{aria2}, false},
	} {
		a := get(t, s, tt.method, "/files/"+tt.name, tt.headers...)
		if got := a.body == "metalink of large -1" || a.body == "metalink of large 0"; got != tt.metalink || a.StatusCode >= 300 {
			t.Errorf("%s %s %v: status %d, %q", tt.method, tt.name, tt.headers, a.StatusCode, a.body)
		}
		if got := a.Header.Get("Vary") == "Accept"; got != (tt.name == "large") {
			t.Errorf("%s %s %v: Vary %q", tt.method, tt.name, tt.headers, a.Header.Get("Vary"))
		}
		if tt.metalink && (a.Header.Get("Link") != "" || a.Header.Get("Digest") != "") {
			t.Errorf("the document is described as if it were the file: %v", a.Header)
		}
	}
	f = newFixture(t)
	f.publish(t, map[string]string{"large": "0123456789"})
	if a := get(t, describing(t, f, 0), "GET", "/files/large", aria2); a.body != "0123456789" || a.Header.Get("Vary") != "" {
		t.Errorf("switched off: %q, %v", a.body, a.Header)
	}
}

func TestFilesAreDescribed(t *testing.T) {
	// SHA-256 of "hello world", in base 64.
	const sum = "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="
	f := newFixture(t)
	f.publish(t, map[string]string{"a": "hello world"})
	s := describing(t, f, 0)
	for _, tt := range []struct {
		method, path string
		headers      []string
		status       int
	}{
		{"GET", "/files/a", nil, 200}, {"HEAD", "/files/a", nil, 200}, {"GET", "/files/a", []string{"Range: bytes=1-2"}, 206},
	} {
		a := get(t, s, tt.method, tt.path, tt.headers...)
		if a.StatusCode != tt.status || a.Header.Get("Digest") != "SHA-256="+sum || a.Header.Get("Repr-Digest") != "sha-256=:"+sum+":" {
			t.Errorf("%+v: status %d, %v", tt, a.StatusCode, a.Header)
		}
		if links := a.Header.Values("Link"); len(links) != 2 || links[1] != "<http://mirror/a>; rel=duplicate" {
			t.Errorf("%+v: %q", tt, links)
		}
		if expose := a.Header.Get("Access-Control-Expose-Headers"); !strings.Contains(expose, "Repr-Digest") {
			t.Errorf("%+v: scripts elsewhere may read %q", tt, expose)
		}
	}
	o := f.server.o
	o.Redirect = func(context.Context, string, *catalog.Content, int) (string, error) { return "http://elsewhere/a", nil }
	f.server = New(o)
	if a := get(t, s, "GET", "/files/a"); a.StatusCode != 307 || a.Header.Get("Digest") == "" || a.Header.Get("Repr-Digest") != "" || len(a.Header.Values("Link")) != 2 {
		t.Errorf("a redirect: status %d, %v", a.StatusCode, a.Header)
	}
	o.Redirect = nil
	f.server = New(o)
	f.openErr = fmt.Errorf("not now")
	if a := get(t, s, "GET", "/files/a"); a.StatusCode != 503 || a.Header.Get("Digest") != "" || a.Header.Get("Repr-Digest") != "" {
		t.Errorf("an error has the digest of the file: %d, %v", a.StatusCode, a.Header)
	}
}
