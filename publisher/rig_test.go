package publisher

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"dropseed/publisher/catalog"
	"dropseed/publisher/torrentfile"
	"dropseed/watcher"
	"dropseed/watcher/watchertest"
)

// rig is a running publisher over memory sources and a catalog on disk. It is
// used inside a synctest bubble.
type rig struct {
	*Publisher
	t    *testing.T
	dir  string
	cat  *catalog.Catalog
	mem  map[string]*watchertest.Memory
	stop func()
	log  *syncBuffer

	mu    sync.Mutex // guards the fields below
	looks []string   // what the publisher asked the watchers to look at
}

type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *syncBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

// count returns how often the log says what.
func (s *syncBuffer) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.b.String(), what)
}

func newRig(t *testing.T, sources ...string) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), mem: map[string]*watchertest.Memory{}, log: &syncBuffer{}}
	for _, s := range sources {
		r.mem[s] = watchertest.NewMemory()
	}
	r.start(Options{})
	return r
}

// start opens the catalog and runs a publisher, until stop is called.
func (r *rig) start(o Options) {
	r.t.Helper()
	log := slog.New(slog.NewTextHandler(r.log, nil))
	cat, err := catalog.Open(r.dir, log)
	if err != nil {
		r.t.Fatal(err)
	}
	o.Catalog, o.Log = cat, log
	if o.Sources == nil {
		o.Sources = map[string]Source{}
		for name, m := range r.mem {
			o.Sources[name] = r.source(m)
		}
	}
	r.cat, r.Publisher = cat, New(o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("Run ended with %v", err)
		}
		if err := cat.Close(); err != nil {
			r.t.Error(err)
		}
	})
}

func (r *rig) source(m *watchertest.Memory) Source {
	return Source{Opener: m, Lister: m, Torrent: torrentfile.Options{PieceLength: 16 << 10}, Look: func(name string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.looks = append(r.looks, name)
	}}
}

func (r *rig) looked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.looks)
}

// event lists a tree and returns what a watcher would report of it.
func (r *rig) event(source, name string) watcher.Event {
	tree := watcher.Tree{Source: source, Name: name}
	for f, err := range r.mem[source].List(r.t.Context(), name) {
		if err != nil {
			r.t.Error(err)
			break
		}
		tree.Files = append(tree.Files, f)
	}
	slices.SortFunc(tree.Files, func(a, b watcher.File) int { return watcher.ComparePaths(a.Path, b.Path) })
	return watcher.Event{Tree: tree, Gone: len(tree.Files) == 0}
}

// report reports what a tree is now.
func (r *rig) report(source, name string) { r.Handle(r.event(source, name)) }

// settle reports a tree and waits until everything stands still.
func (r *rig) settle(source, name string) {
	r.report(source, name)
	synctest.Wait()
}

// wantLive checks that a name is published from source with the content that
// is there now; source "" means that it is not published.
func (r *rig) wantLive(source, name string) {
	r.t.Helper()
	rel, ok := r.cat.Latest(name)
	if !ok || source == "" {
		if ok || source != "" {
			r.t.Errorf("%q is published: %v (%+v), wanted from %q", name, ok, rel, source)
		}
		return
	}
	want := r.event(source, name).Tree
	if rel.Source != source || rel.Digest != want.Digest() {
		r.t.Errorf("%q is published from %q with digest %x, want %q and %x", name, rel.Source, rel.Digest, source, want.Digest())
	}
	b, err := r.cat.Torrent(rel.InfoHash)
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := torrentfile.Parse(b)
	if err != nil {
		r.t.Fatal(err)
	}
	again, err := torrentfile.Build(context.Background(), want, r.mem[source], torrentfile.Options{PieceLength: m.PieceLength})
	if err != nil {
		r.t.Fatal(err)
	}
	if again.InfoHash != m.InfoHash || again.InfoHash != rel.InfoHash {
		r.t.Errorf("%q is published as %v, its torrent is %v, its content %v", name, rel.InfoHash, m.InfoHash, again.InfoHash)
	}
}

// wantPending checks what is pending, each as "source/name reason" or
// "source/name reason: part of the error".
func (r *rig) wantPending(want ...string) {
	r.t.Helper()
	var got []string
	for _, j := range r.Pending() {
		line := j.Source + "/" + j.Name + " " + string(j.Reason)
		if j.Err != "" {
			line += ": " + j.Err
		}
		got = append(got, line)
	}
	if !slices.EqualFunc(got, want, func(g, w string) bool {
		begin, part, _ := strings.Cut(w, ": ")
		rest, ok := strings.CutPrefix(g, begin)
		return ok && strings.Contains(rest, part) && (part == "") == (rest == "")
	}) {
		r.t.Errorf("pending are %q, want %q", got, want)
	}
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) write(source, path string, n int) {
	r.t.Helper()
	content := make([]byte, n)
	for i := range content {
		content[i] = byte(i>>8) ^ byte(len(path))
	}
	r.must(r.mem[source].Write(path, content))
}

// bubble runs a test over a rig in a synctest bubble.
func bubble(t *testing.T, do func(r *rig), sources ...string) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sources...)
		defer func() { r.stop() }()
		do(r)
		for name, m := range r.mem {
			if n := m.Usage().OpenNow; n != 0 {
				t.Errorf("%d files of %q are still open", n, name)
			}
		}
	})
}

var errBroken = errors.New("input/output error")
