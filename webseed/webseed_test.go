package webseed

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
	"golang.org/x/text/unicode/norm"

	"dropseed/publisher/catalog"
	"dropseed/watcher"
)

func parse(raw []byte, method string) (answer, error) {
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), &http.Request{Method: method})
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp, string(body)}, err
}

func TestRangesB01(t *testing.T) {
	f := newFixture(t)
	data := pattern(100_000)
	rel := f.publish(t, map[string]string{"a.iso": data})
	s := f.start(t)
	for _, tt := range []struct {
		asked        string
		status       int
		contentRange string
		body         string
	}{
		{"bytes=0-0", 206, "bytes 0-0/100000", data[:1]},
		{"bytes=0-99999", 206, "bytes 0-99999/100000", data},
		{"bytes=16384-81919", 206, "bytes 16384-81919/100000", data[16384:81920]},
		{"bytes=99990-200000", 206, "bytes 99990-99999/100000", data[99990:]},
		{"bytes=99999-", 206, "bytes 99999-99999/100000", data[99999:]},
		{"bytes=-10", 206, "bytes 99990-99999/100000", data[99990:]},
		{"bytes=100000-100001", 416, "bytes */100000", ""},
		{"pieces=0-1", 200, "", data},
		{"bytes=0-1" + strings.Repeat(",2-3", 100), 200, "", data},
	} {
		a := get(t, s, "GET", WebseedURL("", rel), "Range: "+tt.asked)
		if a.StatusCode != tt.status || a.Header.Get("Content-Range") != tt.contentRange {
			t.Errorf("%.40s: status %d, Content-Range %q", tt.asked, a.StatusCode, a.Header.Get("Content-Range"))
		}
		if tt.status != 416 && (a.body != tt.body || a.ContentLength != int64(len(tt.body))) {
			t.Errorf("%.40s: %d bytes, Content-Length %d, want %d", tt.asked, len(a.body), a.ContentLength, len(tt.body))
		}
	}
}

func TestWholeFileB02(t *testing.T) {
	f := newFixture(t)
	data := pattern(3_000_000)
	rel := f.publish(t, map[string]string{"d/a": "first", "d/b.html": data, "d/empty": ""})
	s := f.start(t)
	target := WebseedURL("", rel) + "d/b.html"
	a := get(t, s, "GET", target, "Accept-Encoding: gzip")
	if a.StatusCode != 200 || a.body != data {
		t.Errorf("status %d, %d bytes", a.StatusCode, len(a.body))
	}
	for key, want := range map[string]string{
		"Content-Length":   "3000000",
		"Content-Encoding": "",
		"Cache-Control":    "public, max-age=31536000, immutable, no-transform",
		"Etag":             `"` + rel.InfoHash.HexString() + `-1"`,
		"Accept-Ranges":    "bytes",
		"Content-Type":     "application/octet-stream",
	} {
		if got := a.Header.Get(key); got != want {
			t.Errorf("%s = %q, want %q", key, got, want)
		}
	}
	if a.TransferEncoding != nil {
		t.Errorf("Transfer-Encoding %q", a.TransferEncoding)
	}
	head := get(t, s, "HEAD", target)
	for _, h := range []http.Header{a.Header, head.Header} {
		h.Del("Date")
	}
	if head.body != "" || fmt.Sprint(head.Header) != fmt.Sprint(a.Header) {
		t.Errorf("HEAD has %d bytes and %v,\nGET has %v", len(head.body), head.Header, a.Header)
	}
	if a := get(t, s, "GET", WebseedURL("", rel)+"d/empty"); a.StatusCode != 200 || a.ContentLength != 0 {
		t.Errorf("empty file: status %d, Content-Length %d", a.StatusCode, a.ContentLength)
	}
	f.wantSent(t, len(data), 0)
}

func TestAliasesOfSingleFilesB04(t *testing.T) {
	f := newFixture(t)
	file := f.publish(t, map[string]string{"a b": "content"})
	one := f.publish(t, map[string]string{"o/x/y": "content"}) // libtorrent asks for "o" and means o/x/y
	two := f.publish(t, map[string]string{"d/a b": "content", "d/c": "more"})
	s := f.start(t)
	for path, rel := range map[string]catalog.Release{
		"": file, "/": file, "/a%20b": file, "/a%20b/a%20b": file, "/o": one, "/o/x/y": one,
	} {
		if a := get(t, s, "GET", "/webseed/"+rel.InfoHash.HexString()+path); a.StatusCode != 200 || a.body != "content" {
			t.Errorf("%q: status %d, %q", path, a.StatusCode, a.body)
		}
	}
	for _, path := range []string{"", "/", "/d", "/d/", "/d/d", "/a%20b"} {
		if a := get(t, s, "GET", "/webseed/"+two.InfoHash.HexString()+path); a.StatusCode != 404 {
			t.Errorf("directory, %q: status %d", path, a.StatusCode)
		}
	}
}

func TestURLsB05(t *testing.T) {
	f := newFixture(t)
	file := f.publish(t, map[string]string{"100% #1 ü+(a).iso": "1"})
	dir := f.publish(t, map[string]string{"d d/x": "1"})
	base := "http://[::1]:8080"
	if got, want := WebseedURL(base, file), base+"/webseed/"+file.InfoHash.HexString()+"/100%25%20%231%20%C3%BC%2B%28a%29.iso"; got != want {
		t.Errorf("single file:\n%s, want\n%s", got, want)
	}
	if got, want := WebseedURL(base, dir), base+"/webseed/"+dir.InfoHash.HexString()+"/"; got != want {
		t.Errorf("directory:\n%s, want\n%s", got, want)
	}
	if got, want := FileURL(base, "d d/a?b/~c"), base+"/files/d%20d/a%3Fb/~c"; got != want {
		t.Errorf("file: %s, want %s", got, want)
	}
}

func TestDecodingB06(t *testing.T) {
	f := newFixture(t)
	nfd := norm.NFD.String("é.txt")
	rel := f.publish(t, map[string]string{
		"d/a b": "space", "d/a+b": "plus", "d/ü": "composed", "d/" + nfd: "decomposed", "d/x/y": "deep", "d/%2F": "percent", "d/|": "bar",
	})
	s := f.start(t)
	for target, want := range map[string]string{
		"d/a%20b":       "space",
		"d/a+b":         "plus",
		"d/a%2Bb":       "plus",
		"d/a%2bb":       "plus",
		"d/%C3%BC":      "composed",
		"d/%c3%bc":      "composed",
		"d/\xc3\xbc":    "composed",
		"d/u%CC%88":     "composed",
		"d/%C3%A9.txt":  "decomposed",
		"d/e%CC%81.txt": "decomposed",
		"%64/x/y":       "deep",
		"d/%252F":       "percent",
		"d/|":           "bar",
		"d%2Fx/y":       "",
		"d/x%2Fy":       "",
		"d/x%2Fy|":      "", // the bar keeps net/url from remembering how it was encoded
		"d/%2F":         "",
		"d/a%2520b":     "",
		"d/\xff":        "",
		"d/x/y%00":      "",
	} {
		a := get(t, s, "GET", WebseedURL("", rel)+target)
		if want == "" && a.StatusCode != 404 || want != "" && a.body != want {
			t.Errorf("%q: status %d, %q, want %q", target, a.StatusCode, a.body, want)
		}
	}
}

func TestUnencodedNamesB07(t *testing.T) {
	f := newFixture(t)
	rel := f.publish(t, map[string]string{
		"d/what? yes": "query", "d/why?": "empty query", "d/C#.txt": "fragment", "d/x?/y": "deep", "d/plain": "plain",
		"d/two#1": "1", "d/two#2": "2", "d/q?a#b": "both",
	})
	s := f.start(t)
	for target, want := range map[string]string{
		"d/what?%20yes":  "query",
		"d/why?":         "empty query",
		"d/x?/y":         "deep",
		"d/plain?x=1":    "plain",
		"d/C":            "fragment",
		"d/C?v=1":        "fragment",
		"d/q?a":          "both",
		"d/two":          "", // it may be either
		"d/what?%20nope": "",
		"d/":             "",
	} {
		a := get(t, s, "GET", WebseedURL("", rel)+target)
		if want == "" && a.StatusCode != 404 || want != "" && a.body != want {
			t.Errorf("%q: status %d, %q, want %q", target, a.StatusCode, a.body, want)
		}
	}
	if a := get(t, s, "GET", WebseedURL("", rel)+"d/100%"); a.StatusCode != 400 {
		t.Errorf("a raw %%: status %d; net/http is known to answer 400", a.StatusCode)
	}
}

func TestNoPathCleaningB08(t *testing.T) {
	f := newFixture(t)
	rel := f.publish(t, map[string]string{"d/x/y": "deep", "d/z": "2"})
	f.publish(t, map[string]string{"e/secret": "other release"})
	if err := os.WriteFile(filepath.Join(f.dir, "unpublished"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := f.start(t)
	for _, target := range []string{
		"d//x/y", "/d/x/y", "d/./x/y", "d/x/../x/y", "d/x/%2E%2E/x/y", "../" + rel.InfoHash.HexString() + "/d/x/y",
		"d/X/y", "D/x/y", "d/x", "d/x/", "d/x/y/", "", "e/secret", "../e/secret", "../../unpublished",
	} {
		if a := get(t, s, "GET", WebseedURL("", rel)+target); a.StatusCode != 404 || a.Header.Get("Location") != "" {
			t.Errorf("%q: status %d, Location %q", target, a.StatusCode, a.Header.Get("Location"))
		}
	}
	for _, target := range []string{"/webseed/", "/webseed/zz/d/x/y", "/webseed//" + rel.InfoHash.HexString(), "/webseed/" + strings.Repeat("0", 40)} {
		if a := get(t, s, "GET", target); a.StatusCode != 404 {
			t.Errorf("%q: status %d", target, a.StatusCode)
		}
	}
	if a := get(t, s, "GET", "http://elsewhere"+WebseedURL("", rel)+"d/x/y"); a.body != "deep" {
		t.Errorf("a proxy's form of request: status %d", a.StatusCode)
	}
}

func TestPipeliningB09(t *testing.T) {
	f := newFixture(t)
	data := pattern(1 << 20)
	rel := f.publish(t, map[string]string{"a": data})
	s := f.start(t)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const n = 64 << 10
	for off := 0; off < len(data); off += n {
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nRange: bytes=%d-%d\r\n\r\n", WebseedURL("", rel), off, off+n-1)
	}
	r := bufio.NewReader(conn)
	for off := 0; off < len(data); off += n {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || string(body) != data[off:off+n] || resp.Close {
			t.Fatalf("at %d: %d bytes, close %v, %v", off, len(body), resp.Close, err)
		}
	}
}

func TestNoStatusForWhatWeHaveB10(t *testing.T) {
	f := newFixture(t)
	rel := f.publish(t, map[string]string{"a": "content"})
	s := f.start(t)
	for _, cause := range []error{watcher.ErrChanged, fs.ErrNotExist, errors.New("too many open files")} {
		f.fail(cause)
		if a, err := try(s, "GET", WebseedURL("", rel)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%v: status %v, %v; want the connection closed", cause, a.Response, err)
		}
		if a := get(t, s, "GET", "/files/a"); a.StatusCode != 503 || a.Header.Get("Retry-After") == "" {
			t.Errorf("%v: /files answers %d, Retry-After %q", cause, a.StatusCode, a.Header.Get("Retry-After"))
		}
	}
}

func TestChangedContentB11(t *testing.T) {
	data := pattern(32 << 20)
	for _, remote := range []bool{false, true} {
		t.Run(fmt.Sprint("remote=", remote), func(t *testing.T) {
			f := newFixture(t)
			f.remote = remote
			rel := f.publish(t, map[string]string{"a": data})
			s := f.start(t)
			conn, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", WebseedURL("", rel))
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			before := make([]byte, 1<<20)
			if _, err := io.ReadFull(resp.Body, before); err != nil || string(before) != data[:len(before)] {
				t.Fatalf("the first MiB: %v", err)
			}
			// The socket's buffers hold a few MiB; the answer waits there.
			if err := os.WriteFile(filepath.Join(f.dir, "a"), []byte("another content"), 0o644); err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(resp.Body)
			if err == nil || len(before)+len(rest) >= len(data) {
				t.Errorf("%d bytes and %v after the change; want the connection closed", len(rest), err)
			}
			if !strings.HasPrefix(data[len(before):], string(rest)) {
				t.Error("wrong bytes were sent")
			}
			if a, err := try(s, "GET", WebseedURL("", rel)); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("asked again: %v, %v; want the connection closed without an answer", a.Response, err)
			}
		})
	}
}

func TestContentThatIsNoFileOfThisMachine(t *testing.T) {
	f := newFixture(t)
	f.remote = true
	data := pattern(2*chunkSize + 1)
	rel := f.publish(t, map[string]string{"a": data})
	s := f.start(t)
	if a := get(t, s, "GET", WebseedURL("", rel)); a.StatusCode != 200 || a.body != data {
		t.Errorf("status %d, %d bytes", a.StatusCode, len(a.body))
	}
	if a := get(t, s, "GET", WebseedURL("", rel), "Range: bytes=1000000-3999999"); a.StatusCode != 206 || a.body != data[1_000_000:4_000_000] {
		t.Errorf("status %d, %d bytes", a.StatusCode, len(a.body))
	}
}

func TestCORSB12(t *testing.T) {
	f := newFixture(t)
	rel := f.publish(t, map[string]string{"a": "content"})
	s := f.start(t)
	a := get(t, s, "OPTIONS", WebseedURL("", rel), "Origin: https://player.example", "Access-Control-Request-Method: GET")
	if a.StatusCode != 204 {
		t.Errorf("OPTIONS: status %d", a.StatusCode)
	}
	for key, want := range map[string]string{
		"Access-Control-Allow-Methods": "get,head,options",
		"Access-Control-Allow-Headers": "range,cache-control,user-agent,if-range",
		"Access-Control-Max-Age":       "86400",
	} {
		if got := strings.ReplaceAll(strings.ToLower(a.Header.Get(key)), " ", ""); got != want {
			t.Errorf("OPTIONS: %s = %q, want %q", key, got, want)
		}
	}
	for _, a := range []answer{
		a,
		get(t, s, "GET", WebseedURL("", rel)),
		get(t, s, "GET", WebseedURL("", rel), "Range: bytes=1-2"),
		get(t, s, "GET", WebseedURL("", rel), "Range: bytes=100-"),
		get(t, s, "GET", "/webseed/nothing"),
		get(t, s, "POST", WebseedURL("", rel)),
		get(t, s, "GET", "/files/a"),
	} {
		if a.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("status %d has no Access-Control-Allow-Origin", a.StatusCode)
		}
		exposed := strings.ToLower(a.Header.Get("Access-Control-Expose-Headers"))
		for _, key := range []string{"content-range", "content-length", "accept-ranges", "etag", "digest", "link"} {
			if !strings.Contains(exposed, key) {
				t.Errorf("status %d does not expose %s", a.StatusCode, key)
			}
		}
	}
}

func TestIPv6AndTLSB13(t *testing.T) {
	f := newFixture(t)
	data := pattern(2 << 20)
	rel := f.publish(t, map[string]string{"a ü": data})
	serve := map[string]func(*httptest.Server){
		"https":  func(s *httptest.Server) { s.StartTLS() },
		"HTTP/2": func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() },
	}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		serve["IPv6"] = func(s *httptest.Server) { s.Listener.Close(); s.Listener = l; s.Start() }
	}
	for name, start := range serve {
		s := httptest.NewUnstartedServer(f)
		start(s)
		resp, err := s.Client().Get(WebseedURL(s.URL, rel))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != data {
			t.Errorf("%s: %s, %d bytes, %v", name, resp.Proto, len(body), err)
		}
		s.Close()
	}
}

func TestManyRangesB14(t *testing.T) {
	f := newFixture(t)
	data := pattern(2 << 20)
	rel := f.publish(t, map[string]string{"a": data})
	s := f.start(t)
	a := get(t, s, "GET", WebseedURL("", rel), "Range: bytes=0-9,1000000-1999999")
	_, params, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if a.StatusCode != 206 || err != nil {
		t.Fatalf("status %d, Content-Type %q", a.StatusCode, a.Header.Get("Content-Type"))
	}
	parts := multipart.NewReader(strings.NewReader(a.body), params["boundary"])
	for _, want := range []string{data[:10], data[1_000_000:2_000_000]} {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(part); err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, %v", part.Header.Get("Content-Range"), len(got), err)
		}
	}
	if a := get(t, s, "GET", WebseedURL("", rel), "Range: bytes=0-2000000,1-2000000"); a.StatusCode != 200 || a.body != data {
		t.Errorf("more than the file: status %d, %d bytes", a.StatusCode, len(a.body))
	}
}

func TestIfRangeB15(t *testing.T) {
	f := newFixture(t)
	rel := f.publish(t, map[string]string{"a": "content"})
	s := f.start(t)
	for _, target := range []string{WebseedURL("", rel), "/files/a"} {
		etag := get(t, s, "HEAD", target).Header.Get("ETag")
		if a := get(t, s, "GET", target, "Range: bytes=1-2", "If-Range: "+etag); a.StatusCode != 206 || a.body != "on" {
			t.Errorf("%s: the same ETag: status %d, %q", target, a.StatusCode, a.body)
		}
		if a := get(t, s, "GET", target, "Range: bytes=1-2", `If-Range: "another"`); a.StatusCode != 200 || a.body != "content" {
			t.Errorf("%s: another ETag: status %d, %q", target, a.StatusCode, a.body)
		}
		if a := get(t, s, "GET", target, "If-None-Match: "+etag); a.StatusCode != 304 || a.body != "" {
			t.Errorf("%s: If-None-Match: status %d, %q", target, a.StatusCode, a.body)
		}
	}
}

func TestRetiredReleaseIsGone(t *testing.T) {
	f := newFixture(t)
	rel := f.publish(t, map[string]string{"a": "content"})
	s := f.start(t)
	if err := f.catalog.Retire(rel.InfoHash); err != nil {
		t.Fatal(err)
	}
	if a := get(t, s, "GET", WebseedURL("", rel)); a.StatusCode != 410 {
		t.Errorf("webseed: status %d", a.StatusCode)
	}
	if a := get(t, s, "GET", "/files/a"); a.StatusCode != 404 {
		t.Errorf("files: status %d", a.StatusCode)
	}
}

func TestOtherMethodsAreRefused(t *testing.T) {
	f := newFixture(t)
	rel := f.publish(t, map[string]string{"a": "content"})
	s := f.start(t)
	for _, target := range []string{WebseedURL("", rel), "/files/a"} {
		if a := get(t, s, "DELETE", target); a.StatusCode != 405 || a.Header.Get("Allow") == "" {
			t.Errorf("%s: status %d, Allow %q", target, a.StatusCode, a.Header.Get("Allow"))
		}
	}
}

func TestFilesServeTheNewestRelease(t *testing.T) {
	f := newFixture(t)
	f.publish(t, map[string]string{"d/ü #1.iso": "old", "d/more": "1"})
	s := f.start(t)
	target := FileURL("", "d/ü #1.iso")
	old := get(t, s, "GET", target)
	f.publish(t, map[string]string{"d/ü #1.iso": "newer", "d/more": "1"})
	a := get(t, s, "GET", target, "Range: bytes=1-", "If-Range: "+old.Header.Get("ETag"))
	if old.body != "old" || a.body != "newer" || a.StatusCode != 200 {
		t.Errorf("%q, then status %d, %q", old.body, a.StatusCode, a.body)
	}
	if got := a.Header.Get("Cache-Control"); got != "no-cache, no-transform" {
		t.Errorf("Cache-Control = %q", got)
	}
	for _, target := range []string{"/files/", "/files/d", "/files/d/", "/files/nothing", "/files/nothing/x", "/files/%2e%2e/d/more"} {
		if a := get(t, s, "GET", target); a.StatusCode != 404 {
			t.Errorf("%s: status %d", target, a.StatusCode)
		}
	}
	f.wantSent(t, 0, len("oldnewer"))
}

// What is published may be hostile: it must not run as a part of this site.
func TestFilesAreSafeToOpenInABrowser(t *testing.T) {
	f := newFixture(t)
	s := f.start(t)
	for name, want := range map[string][2]string{
		"x.html":       {"application/octet-stream", `attachment; filename=x.html`},
		"x.svg":        {"application/octet-stream", `attachment; filename=x.svg`},
		"x.pdf":        {"application/octet-stream", `attachment; filename=x.pdf`},
		"x.xml":        {"application/octet-stream", `attachment; filename=x.xml`},
		"no extension": {"application/octet-stream", `attachment; filename="no extension"`},
		`"ü"\r\n.js`:   {"application/octet-stream", `attachment; filename*=utf-8''%22%C3%BC%22%5Cr%5Cn.js`},
		"a\nb.iso":     {"application/octet-stream", `attachment; filename*=utf-8''a%0Ab.iso`},
		"readme.TXT":   {"text/plain; charset=utf-8", ""},
		"shot.png":     {"image/png", ""},
	} {
		f.publish(t, map[string]string{name: "<script>alert(1)</script>"})
		a := get(t, s, "GET", FileURL("", name))
		got := [2]string{a.Header.Get("Content-Type"), a.Header.Get("Content-Disposition")}
		if a.StatusCode != 200 || got != want || a.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%q: status %d, %q, want %q", name, a.StatusCode, got, want)
		}
	}
}

// readerFrom notes what a real connection would be asked to send.
type readerFrom struct {
	*httptest.ResponseRecorder
	from []io.Reader
}

func (r *readerFrom) ReadFrom(src io.Reader) (int64, error) {
	r.from = append(r.from, src)
	return io.Copy(struct{ io.Writer }{r.ResponseRecorder}, src)
}

// net/http uses sendfile(2) for an *os.File in at most one io.LimitedReader,
// and so it must be given one for each part that a limit grants.
func TestFilesReachSendfile(t *testing.T) {
	for _, chunk := range []int{0, 64 << 10} {
		t.Run(fmt.Sprintf("chunks of %d", chunk), func(t *testing.T) {
			f := newFixture(t)
			data := pattern(3*chunkSize + 100)
			rel := f.publish(t, map[string]string{"a": data})
			taken, want := 0, 4
			if chunk > 0 {
				want = (len(data)-2)/chunk + 1
				f.server.o.Chunk = chunk
				f.server.o.Take = func(_ *http.Request, _ infohash.T, _ Kind, n int) error {
					taken += n
					return nil
				}
			}
			w := &readerFrom{ResponseRecorder: httptest.NewRecorder()}
			r := httptest.NewRequest("GET", WebseedURL("", rel), nil)
			r.Header.Set("Range", "bytes=1-")
			f.ServeHTTP(w, r)
			if w.Body.String() != data[1:] {
				t.Fatalf("%d bytes, want %d", w.Body.Len(), len(data)-1)
			}
			if chunk > 0 && taken != len(data)-1 {
				t.Errorf("%d bytes were granted, want %d", taken, len(data)-1)
			}
			if len(w.from) != want {
				t.Errorf("%d chunks were handed over, want %d", len(w.from), want)
			}
			for _, src := range w.from {
				limited, ok := src.(*io.LimitedReader)
				if !ok {
					t.Fatalf("a %T was handed over", src)
				}
				if _, ok := limited.R.(*os.File); !ok {
					t.Errorf("an io.LimitedReader of %T was handed over", limited.R)
				}
			}
		})
	}
}

// golang/go#41513: a header that leaves before its body must not wait for an
// acknowledgement, which takes 40 ms and more.
func TestSmallBodiesDoNotStall(t *testing.T) {
	f := newFixture(t)
	rel := f.publish(t, map[string]string{"a": pattern(256 << 10)})
	s := f.start(t)
	for _, n := range []int{1, 16 << 10, 32 << 10, 64 << 10, 128 << 10} {
		times := make([]time.Duration, 20)
		for i := range times {
			start := time.Now()
			req, err := http.NewRequest("GET", WebseedURL(s.URL, rel), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Range", fmt.Sprintf("bytes=0-%d", n-1))
			resp, err := s.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if err != nil || got != int64(n) {
				t.Fatalf("%d bytes, %v", got, err)
			}
			times[i] = time.Since(start)
		}
		if median := slices.Sorted(slices.Values(times))[len(times)/2]; median > 30*time.Millisecond {
			t.Errorf("%d bytes take %v", n, median)
		}
	}
}

// pipeListener gives a server one end of pipes, on which time is synctest's.
type pipeListener chan net.Conn

func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }
func (l pipeListener) Close() error   { return nil }
func (l pipeListener) Accept() (net.Conn, error) {
	if c, ok := <-l; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func TestSlowClientsAreServedAndStalledOnesCut(t *testing.T) {
	f := newFixture(t)
	data := pattern(4 * chunkSize)
	rel := f.publish(t, map[string]string{"a": data})
	for name, tt := range map[string]struct {
		pause time.Duration // for each chunk
		ok    bool
	}{
		"slow":    {chunkTime - time.Second, true},
		"stalled": {chunkTime + time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := make(pipeListener)
				server := &http.Server{Handler: f}
				go server.Serve(l)
				client, serverEnd := net.Pipe()
				l <- serverEnd
				defer close(l)
				defer client.Close()
				fmt.Fprintf(client, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", WebseedURL("", rel))
				resp, err := http.ReadResponse(bufio.NewReader(client), nil)
				if err != nil {
					t.Fatal(err)
				}
				var got int64
				for err == nil {
					time.Sleep(tt.pause)
					var n int64
					n, err = io.CopyN(io.Discard, resp.Body, chunkSize)
					got += n
				}
				if (got == int64(len(data))) != tt.ok {
					t.Errorf("the client got %d of %d bytes", got, len(data))
				}
			})
		})
	}
}

func FuzzPaths(f *testing.F) {
	fix := newFixture(f)
	fix.publish(f, map[string]string{"a#b?c": "1"})
	fix.publish(f, map[string]string{"d/ü": "2", "d/%2F/+": "3", "d/x?/y#": "4"})
	for _, path := range []string{"", "/", "d/%C3%BC", "d/u%CC%88", "d/%252F/+", "d/x?/y", "a", "a#b?c", "d/../d", "d/%2e%2e", "%", "d/\xff", "d/%00"} {
		f.Add(path, true)
		f.Add(path, false)
	}
	rels := fix.catalog.Live()
	f.Fuzz(func(t *testing.T, path string, files bool) {
		prefixes := []string{"/files/"}
		if !files {
			prefixes = prefixes[:0]
			for _, rel := range rels {
				prefixes = append(prefixes, "/webseed/"+rel.InfoHash.HexString()+"/")
			}
		}
		for _, prefix := range prefixes {
			u, err := url.ParseRequestURI(prefix + path)
			if err != nil || !strings.HasPrefix(rawPath(u), prefix) {
				continue
			}
			w := httptest.NewRecorder()
			fix.ServeHTTP(w, &http.Request{Method: "GET", URL: u, Header: make(http.Header), RequestURI: prefix + path})
			if w.Code == 200 && len(w.Body.String()) != 1 || w.Code != 200 && w.Code != 404 {
				t.Errorf("%q: status %d, %q", prefix+path, w.Code, w.Body)
			}
		}
	})
}

// Whatever a file is called, its URL leads to it.
func FuzzURLsLeadToFiles(f *testing.F) {
	for _, name := range []string{"a", "ü", "a b", "#", "?", "%", "%41", "+", "a?b#c", "\xff", "~", ":", "*", "a/b"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(FileURL("", path))
		if err != nil {
			t.Fatal(err)
		}
		valid := !strings.Contains(path, "\x00") && len(path) < maxPath/3
		for _, part := range strings.Split(path, "/") {
			valid = valid && part != "." && part != ".."
		}
		if got := decode(strings.TrimPrefix(rawPath(u), filesPrefix)); valid && got != path {
			t.Errorf("%q became %q", path, got)
		}
	})
}

// TestRedirect has files elsewhere: all but libtorrent are sent there.
func TestRedirect(t *testing.T) {
	const elsewhere = "https://bucket.example/a?signature=1"
	f := newFixture(t)
	var sent int64
	f.server.o.Sent = func(_ *http.Request, _ infohash.T, _ Kind, n int64) { sent += n }
	link, linkErr := elsewhere, error(nil)
	f.server.o.Redirect = func(_ context.Context, method string, c *catalog.Content, i int) (string, error) {
		if i != 0 || method != http.MethodGet && method != http.MethodHead {
			t.Errorf("asked for a link to file %d for %s", i, method)
		}
		return link, linkErr
	}
	rel := f.publish(t, map[string]string{"a": "content"})
	ask := func(method, url, client string) (w *httptest.ResponseRecorder) {
		t.Helper()
		w = httptest.NewRecorder()
		r := httptest.NewRequest(method, url, nil)
		r.Header.Set("User-Agent", client)
		defer func() {
			if p := recover(); p == http.ErrAbortHandler {
				w.Code = 0
			} else if p != nil {
				panic(p)
			}
		}()
		if strings.HasPrefix(r.URL.Path, webseedPrefix) {
			f.server.ServeWebseed(w, r)
		} else {
			f.server.ServeFiles(w, r)
		}
		return w
	}
	webseed, files := WebseedURL("http://x", rel), FileURL("http://x", "a")
	for _, url := range []string{webseed, files} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			w := ask(method, url, "Transmission/3.00")
			if w.Code != http.StatusTemporaryRedirect || w.Header().Get("Location") != elsewhere || w.Header().Get("Cache-Control") != "no-store" || w.Body.Len() > 0 {
				t.Errorf("%s %s: %d, %v", method, url, w.Code, w.Header())
			}
		}
	}
	if sent != 0 {
		t.Errorf("%d bytes count as sent", sent)
	}
	if w := ask(http.MethodGet, webseed, "qBittorrent/4.5.2"); w.Code != http.StatusOK || w.Body.String() != "content" {
		t.Errorf("libtorrent gets %d, %q", w.Code, w.Body)
	}
	link = ""
	for _, url := range []string{webseed, files} {
		if w := ask(http.MethodGet, url, "curl/8"); w.Code != http.StatusOK || w.Body.String() != "content" {
			t.Errorf("%s: without a link %d, %q", url, w.Code, w.Body)
		}
	}
	linkErr = errors.New("the server is down")
	if w := ask(http.MethodGet, webseed, "curl/8"); w.Code != 0 {
		t.Errorf("the webseed answers %d for what cannot be linked to", w.Code)
	}
	if w := ask(http.MethodGet, files, "curl/8"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("direct downloads: %d for what cannot be linked to", w.Code)
	}
}
