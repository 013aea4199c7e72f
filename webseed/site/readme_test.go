package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
	"dropseed/watcher"
)

// shelf is content that can be opened, by path.
type shelf struct {
	opened atomic.Int32

	mu    sync.Mutex // guards the fields below
	files map[string]string
	stuck chan struct{} // reads wait until it is closed; nil: they do not
	err   error
}

func (s *shelf) open(_ context.Context, c *catalog.Content, i int) (watcher.Object, error) {
	s.opened.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	text, ok := s.files[c.Files[i].Path]
	if s.err != nil {
		return nil, s.err
	}
	if !ok {
		return nil, fs.ErrNotExist
	}
	return book{bytes.NewReader([]byte(text)), s.stuck}, nil
}

// hold has what is opened from now on not be read before stuck is closed.
func (s *shelf) hold(stuck chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stuck = stuck
}

type book struct {
	*bytes.Reader
	stuck chan struct{}
}

func (b book) ReadAt(p []byte, off int64) (int, error) {
	if b.stuck != nil {
		<-b.stuck
	}
	return b.Reader.ReadAt(p, off)
}
func (book) Close() error { return nil }
func (book) Check() error { return nil }

// withContent returns a fixture that publishes what is on a shelf.
func withContent(tb testing.TB) (*fixture, *shelf) {
	f, s := newFixture(tb), &shelf{files: make(map[string]string)}
	o := f.site.o
	o.Open = s.open
	f.site = New(o)
	f.Config.Handler = f.site
	return f, s
}

// put publishes a release whose files hold texts. Paths are below its name; "": a single file.
func (s *shelf) put(tb testing.TB, f *fixture, source, name string, texts map[string]string) catalog.Release {
	tb.Helper()
	tree := watcher.Tree{Source: source, Name: name}
	for p, text := range texts {
		p = strings.TrimSuffix(name+"/"+p, "/")
		s.mu.Lock()
		s.files[p] = text
		s.mu.Unlock()
		tree.Files = append(tree.Files, watcher.File{Path: p, Size: int64(len(text)), Version: text[:min(len(text), 40)]})
	}
	slices.SortFunc(tree.Files, func(a, b watcher.File) int { return watcher.ComparePaths(a.Path, b.Path) })
	return f.commit(tb, tree)
}

func TestReadmeIsShown(t *testing.T) {
	t.Parallel()
	f, s := withContent(t)
	const title = "About this release"
	s.put(t, f, "a", "tree", map[string]string{"x.bin": "x", "docs/README.md": "not *this*", "docs/a b.md": "x", "ReadMe.MD": "# Hello\n\n[more](docs/a%20b.md) <script>alert(1)</script>", "README.txt": "nor this"})
	wantAll(t, f.get(t, "/releases/tree"), 200, title, `<h3 id="readme-hello">Hello</h3>`, `<a href="../files/tree/docs/a%20b.md" rel="nofollow noreferrer">more</a>`)
	if a := f.get(t, "/releases/tree"); strings.Contains(a.body, "not <em>") || strings.Contains(a.body, "nor this") || strings.Contains(a.body, "<script>") {
		t.Errorf("more than the README is shown:\n%s", a.body)
	}
	s.put(t, f, "a", "text", map[string]string{"readme": "as <it> *is*\n"})
	wantAll(t, f.get(t, "/releases/text"), 200, title, "<pre>as &lt;it&gt; *is*\n</pre>")
	s.put(t, f, "a", "long", map[string]string{"README.txt": strings.Repeat("line\n", maxReadme)})
	wantAll(t, f.get(t, "/releases/long"), 200, `<a href="../files/long/README.txt">All of <bdi>README.txt</bdi></a>`)
	s.put(t, f, "a", "none", map[string]string{"readme.pdf": "x", "read": "y", "docs/README.md": "z", "readme.md": ""})
	if a := f.get(t, "/releases/none"); a.StatusCode != 200 || strings.Contains(a.body, title) {
		t.Errorf("a README where none is: %d\n%s", a.StatusCode, a.body)
	}
}

func TestReadmeBesideAFile(t *testing.T) {
	t.Parallel()
	f, s := withContent(t)
	s.put(t, f, "a", "disk.iso", map[string]string{"": "content"})
	s.put(t, f, "a", "src.tar.gz", map[string]string{"": "content"})
	s.put(t, f, "a", "set", map[string]string{"a": "1", "b": "2"})
	s.put(t, f, "b", "disk.iso.md", map[string]string{"": "of another source"})
	s.put(t, f, "a", "disk.txt", map[string]string{"": "by its stem"})
	s.put(t, f, "a", "src.md", map[string]string{"": "*both* extensions"})
	s.put(t, f, "a", "set.md", map[string]string{"": "beside a directory, [a](a)"})
	for path, want := range map[string]string{
		"disk.iso": "<pre>by its stem</pre>", "src.tar.gz": "<p><em>both</em> extensions</p>", "set": "<p>beside a directory, a</p>",
	} {
		wantAll(t, f.get(t, "/releases/"+path), 200, want)
	}
	if a := f.get(t, "/releases/disk.txt"); strings.Contains(a.body, "About this release") {
		t.Error("a README is its own README")
	}
	s.put(t, f, "a", "disk.iso.txt", map[string]string{"": strings.Repeat("data", maxReadme)})
	wantAll(t, f.get(t, "/releases/disk.iso"), 200, "by its stem") // what is large is no README
	s.put(t, f, "a", "disk.iso.txt", map[string]string{"": "by its name"})
	wantAll(t, f.get(t, "/releases/disk.iso"), 200, "by its name")
}

func TestReadmeIsReadOnce(t *testing.T) {
	t.Parallel()
	f, s := withContent(t)
	s.put(t, f, "a", "tree", map[string]string{"README.md": "one"})
	for range 3 {
		wantAll(t, f.get(t, "/releases/tree"), 200, "<p>one</p>")
	}
	if n := s.opened.Load(); n != 1 {
		t.Errorf("opened %d times", n)
	}
	s.put(t, f, "a", "tree", map[string]string{"README.md": "two"})
	wantAll(t, f.get(t, "/releases/tree"), 200, "<p>two</p>")
	s.mu.Lock()
	s.err = errors.New("the disk is on fire")
	s.mu.Unlock()
	s.put(t, f, "a", "broken", map[string]string{"README.md": "three"})
	before := s.opened.Load()
	for range 3 {
		if a := f.get(t, "/releases/broken"); a.StatusCode != 200 || strings.Contains(a.body, "About this release") {
			t.Errorf("status %d", a.StatusCode)
		}
	}
	if n := s.opened.Load() - before; n != 1 {
		t.Errorf("what failed was tried %d times at once", n)
	}
}

// A source that hangs delays the first page for a moment, and no other.
func TestPageDoesNotWaitForAReadmeThatHangs(t *testing.T) {
	t.Parallel()
	f, s := withContent(t)
	content := func(source, name, text string) *catalog.Content {
		c, err := f.catalog.Content(s.put(t, f, source, name, map[string]string{"README.md": text, "n": name}).InfoHash)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	var hanging []*catalog.Content
	for i := range readmeReaders + 1 {
		hanging = append(hanging, content("bucket", fmt.Sprint("tree", i), "late"))
	}
	healthy := content("folder", "fine", "well")

	synctest.Test(t, func(t *testing.T) {
		m := newReadmes(f.site.o)
		stuck := make(chan struct{})
		s.hold(stuck)
		for i, c := range hanging {
			start := time.Now()
			r := m.of(t.Context(), c)
			want := readmeWait
			if i == readmeReaders {
				want = 0 // there is no place to wait in
			}
			if took := time.Since(start); r.HTML != "" || took != want {
				t.Errorf("page %d waited %v and got %q", i, took, r.HTML)
			}
		}
		start := time.Now()
		if r := m.of(t.Context(), hanging[0]); r.HTML != "" || time.Since(start) != 0 {
			t.Errorf("the second page waited %v and got %q", time.Since(start), r.HTML)
		}
		s.hold(nil)
		if r := m.of(t.Context(), healthy); r.HTML != "<p>well</p>\n" {
			t.Errorf("another source's README is %q", r.HTML)
		}
		close(stuck)
		synctest.Wait()
		for _, c := range hanging {
			if r := m.of(t.Context(), c); r.HTML != "<p>late</p>\n" {
				t.Errorf("afterwards it is %q", r.HTML)
			}
		}
	})
}

func TestKeptReadmesAreBounded(t *testing.T) {
	t.Parallel()
	m := newReadmes(Options{})
	page := template.HTML(strings.Repeat("word ", 12_000)) // 60 kB
	for i := range 500 {
		ih := infohash.T{byte(i), byte(i >> 8)}
		m.keep(ih, readme{HTML: page})
		m.keep(infohash.T{byte(i % 7), 9}, readme{})
		if r, ok := m.kept(ih); !ok || r.HTML != page {
			t.Fatal("what was just kept is gone")
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := 0
	for e := m.used.Front(); e != nil; e = e.Next() {
		sum += e.Value.(*keptReadme).bytes()
	}
	if sum != m.size || sum > readmeCache || sum < readmeCache/2 || len(m.byHash) != m.used.Len() {
		t.Errorf("%d bytes are kept, counted as %d, in %d of %d entries", sum, m.size, m.used.Len(), len(m.byHash))
	}
}
