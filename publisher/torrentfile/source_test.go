package torrentfile

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"dropseed/watcher"
)

// memory is a strict source of content: it counts what is open, refuses other
// Versions, and can be told to fail or to change.
type memory struct {
	mu      sync.Mutex // guards the fields below
	files   map[string][]byte
	opens   map[string]int
	open    int // objects that are open now
	maxOpen int
	reads   int

	onRead func(read int, path string) error // called before each read, with its number from 1; without mu
}

func newMemory(files map[string][]byte) *memory {
	return &memory{files: files, opens: map[string]int{}}
}

func version(b []byte) string { return fmt.Sprintf("%d bytes at %p", len(b), b) }

func (m *memory) tree(name string) watcher.Tree {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := watcher.Tree{Source: "memory", Name: name}
	for path, b := range m.files {
		if path == name || strings.HasPrefix(path, name+"/") {
			t.Files = append(t.Files, watcher.File{Path: path, Size: int64(len(b)), Version: version(b)})
		}
	}
	slices.SortFunc(t.Files, func(a, b watcher.File) int { return watcher.ComparePaths(a.Path, b.Path) })
	return t
}

func (m *memory) set(path string, b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[path] = b
}

func (m *memory) Open(ctx context.Context, f watcher.File) (watcher.Object, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.files[f.Path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	if version(b) != f.Version {
		return nil, watcher.ErrChanged
	}
	m.opens[f.Path]++
	m.open++
	m.maxOpen = max(m.maxOpen, m.open)
	return &memoryObject{m: m, path: f.Path, version: f.Version}, nil
}

type memoryObject struct {
	m             *memory
	path, version string
	closed        bool
}

func (o *memoryObject) ReadAt(p []byte, off int64) (int, error) {
	o.m.mu.Lock()
	if o.closed {
		panic("read after Close")
	}
	o.m.reads++
	read, b, hook := o.m.reads, o.m.files[o.path], o.m.onRead
	o.m.mu.Unlock()
	if hook != nil {
		if err := hook(read, o.path); err != nil {
			return 0, err
		}
	}
	return bytes.NewReader(b).ReadAt(p, off)
}

func (o *memoryObject) Check() error {
	o.m.mu.Lock()
	defer o.m.mu.Unlock()
	if version(o.m.files[o.path]) != o.version {
		return watcher.ErrChanged
	}
	return nil
}

func (o *memoryObject) Close() error {
	o.m.mu.Lock()
	defer o.m.mu.Unlock()
	if o.closed {
		panic("closed twice")
	}
	o.closed = true
	o.m.open--
	return nil
}

// folder opens plain files below a directory of this machine.
type folder string

type folderObject struct{ *os.File }

func (folderObject) Check() error { return nil }

func (d folder) Open(_ context.Context, f watcher.File) (watcher.Object, error) {
	file, err := os.Open(filepath.Join(string(d), f.Path))
	if err != nil {
		return nil, err
	}
	return folderObject{file}, nil
}

// randomBytes returns n bytes that depend on seed only.
func randomBytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	rand.NewChaCha8(key).Read(b)
	return b
}

func mustBuild(t testing.TB, tree watcher.Tree, open watcher.Opener, o Options) *Torrent {
	t.Helper()
	torrent, err := Build(t.Context(), tree, open, o)
	if err != nil {
		t.Fatal(err)
	}
	return torrent
}

func mustParse(t testing.TB, b []byte) *Metainfo {
	t.Helper()
	m, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// requireTool returns the path of a program that a test needs.
func requireTool(t testing.TB, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		skip(t, fmt.Sprintf("%s is not installed", path))
	}
	return path
}

func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("DROPSEED_REQUIRE_ALL") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}
