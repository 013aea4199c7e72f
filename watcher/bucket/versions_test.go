package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"

	"dropseed/watcher"
	"dropseed/watcher/watchertest"
)

// versioned is a store that keeps versions.
func versioned(t testing.TB, g *gateway) *store {
	t.Helper()
	s := newStore(t, g)
	must(t, s.client.EnableVersioning(t.Context(), s.bucket))
	return s
}

func TestVersionedBucketIsASource(t *testing.T) {
	t.Parallel()
	g := shared(t)
	watchertest.TestSource(t, func(t *testing.T) (watcher.Source, watchertest.Content) {
		s := versioned(t, g)
		s.prefix, s.purge = "public/isos/", true
		b := newBucket(t, s.options())
		s.notify = b.Notify
		return b, s
	})
}

func TestVersionHasTheVersionID(t *testing.T) {
	t.Parallel()
	testVersions(t, shared(t))
}

// testVersions checks what holds for every server that keeps versions.
func testVersions(t *testing.T, g *gateway) {
	s := newStore(t, g)
	must(t, s.Write("before", []byte("written while the bucket kept none")))
	must(t, s.client.EnableVersioning(t.Context(), s.bucket))
	b := newBucket(t, s.options())
	b.pageSize = 3
	var versions [3]watcher.File
	for i, content := range []string{"one", "two", "two"} {
		must(t, s.Write("d/f", []byte(content)))
		files, problems := list(t, b, "")
		if len(files) != 2 || len(problems) > 0 {
			t.Fatalf("listed: %v, %q", files, problems)
		}
		versions[i] = files["d/f"]
		o, err := s.client.StatObject(t.Context(), s.bucket, "d/f", minio.StatObjectOptions{})
		must(t, err)
		if want := fmt.Sprintf("%s.3 %s", o.ETag, o.VersionID); versions[i].Version != want || o.VersionID == "" {
			t.Errorf("the Version is %q, want %q", versions[i].Version, want)
		}
		if v := files["before"].Version; strings.Contains(v, " ") {
			t.Errorf("the Version of what was written before is %q", v)
		}
		if alone, _ := list(t, b, "d"); alone["d/f"] != versions[i] {
			t.Errorf("alone: %v, want %v", alone, versions[i])
		}
	}

	// The same bytes, uploaded again, are another version.
	if _, err := b.Open(t.Context(), versions[1]); !errors.Is(err, watcher.ErrChanged) {
		t.Errorf("Open of a version with the ETag of the latest: %v", err)
	}
	obj, err := b.Open(t.Context(), versions[2])
	must(t, err)
	defer obj.Close()
	buf := make([]byte, 3)
	if n, err := obj.ReadAt(buf, 0); n != 3 || string(buf) != "two" {
		t.Errorf("ReadAt: %q, %v", buf[:n], err)
	}
	link, err := b.Link(t.Context(), http.MethodGet, versions[2])
	must(t, err)
	must(t, s.Write("d/f", []byte("two")))
	if _, err := obj.ReadAt(buf, 0); !errors.Is(err, watcher.ErrChanged) {
		t.Errorf("ReadAt of a version with the ETag of the latest: %v", err)
	}
	must(t, s.Write("d/f", []byte("new")))
	resp, err := http.Get(link)
	must(t, err)
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); string(got) != "two" {
		t.Errorf("the link gives %q, %v", got, err)
	}

	// What is deleted is gone, though its versions are kept.
	must(t, s.Remove("d/f"))
	wantPaths(t, b, "", "before")
	wantPaths(t, b, "d")
}

// TestVersionsThatMayNotBeListed is of credentials that may only list and read.
func TestVersionsThatMayNotBeListed(t *testing.T) {
	t.Parallel()
	for _, refused := range []string{"versioning", "versions"} {
		s := versioned(t, shared(t))
		must(t, s.Write("f", []byte("x")))
		o := s.options()
		asked := 0
		o.Endpoint = proxy(t, s, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
			if !r.URL.Query().Has(refused) {
				pass.ServeHTTP(w, r)
				return
			}
			asked++
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>`)
		})
		b := newBucket(t, o)
		var f watcher.File
		for range 3 {
			files, _ := list(t, b, "")
			f = files["f"]
		}
		if asked != 1 || f.Version == "" || strings.Contains(f.Version, " ") {
			t.Errorf("without %q: asked %d times, listed %v", refused, asked, f)
		}
		obj, err := b.Open(context.Background(), f)
		must(t, err)
		buf := make([]byte, 1)
		if _, err := obj.ReadAt(buf, 0); err != nil || buf[0] != 'x' {
			t.Errorf("ReadAt: %q, %v", buf, err)
		}
		obj.Close()
	}
}

// TestVersionsOnPages is of a gateway that begins a page with what the one before
// has ended with.
func TestVersionsOnPages(t *testing.T) {
	t.Parallel()
	s := versioned(t, shared(t))
	b := newBucket(t, s.options())
	b.pageSize = 2
	for _, name := range []string{"d/a", "d/b", "d/c", "d/d", "e", "f"} {
		must(t, s.Write(name, []byte("x")))
	}
	listed := make(map[string]int)
	for f, err := range b.List(t.Context(), "") {
		must(t, err)
		listed[f.Path]++
	}
	if len(listed) != 6 || listed["d/b"] != 1 || listed["f"] != 1 {
		t.Errorf("listed %v", listed)
	}
}

// TestVersionStaysWhenVersionsAreRefusedLater is of credentials that lose a right
// in a listing and between two: what was listed with ids is not listed without.
func TestVersionStaysWhenVersionsAreRefusedLater(t *testing.T) {
	t.Parallel()
	s := versioned(t, shared(t))
	for _, name := range []string{"d/a", "d/b", "d/c"} {
		must(t, s.Write(name, []byte("x")))
	}
	o := s.options()
	refuse := func(*http.Request) bool { return false }
	o.Endpoint = proxy(t, s, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if !r.URL.Query().Has("versions") || !refuse(r) {
			pass.ServeHTTP(w, r)
			return
		}
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>`)
	})
	b := newBucket(t, o)
	b.pageSize = 2
	refused := func(when string) {
		t.Helper()
		for f, err := range b.List(t.Context(), "") {
			if _, problem := errors.AsType[*watcher.Problem](err); problem || err == nil && !strings.Contains(f.Version, " ") {
				t.Errorf("%s: listed %v, %v", when, f, err)
			} else if err != nil {
				return
			}
		}
		t.Errorf("%s: the listing ends without an error", when)
	}
	refuse = func(r *http.Request) bool { return r.URL.Query().Get("key-marker") != "" }
	refused("in the first listing")
	refuse = func(*http.Request) bool { return false }
	before, _ := list(t, b, "")
	refuse = func(*http.Request) bool { return true }
	refused("after a listing")
	refuse = func(*http.Request) bool { return false }
	if after, problems := list(t, b, ""); len(problems) > 0 || len(before) != 3 || after["d/b"] != before["d/b"] {
		t.Errorf("listed %v, %q, before %v", after, problems, before)
	}
}
