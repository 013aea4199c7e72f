package catalog

import (
	"container/list"
	"crypto/sha256"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/watcher"
)

// Content is a release with its files, laid out as in its torrent. It is
// immutable and shared.
type Content struct {
	Release
	Files   []watcher.File      // in the torrent's order
	offsets []int64             // of each file in the torrent, bytes; ascending
	byPath  []int32             // indices into Files, sorted by path bytes
	sums    [][sha256.Size]byte // of each file; nil: not known
}

func newContent(r Release, files []watcher.File, sums [][sha256.Size]byte) *Content {
	c := &Content{
		Release: r, Files: files, sums: sums,
		offsets: make([]int64, len(files)), byPath: make([]int32, len(files)),
	}
	var off int64
	for i, f := range files {
		c.offsets[i], c.byPath[i] = off, int32(i)
		off += f.Size
	}
	slices.SortFunc(c.byPath, func(a, b int32) int { return strings.Compare(files[a].Path, files[b].Path) })
	return c
}

// Offset returns where in the torrent's bytes the i-th file begins.
func (c *Content) Offset(i int) int64 { return c.offsets[i] }

// SHA256 returns that of the i-th file's bytes. ok is false if it was not computed
// when the release was made.
func (c *Content) SHA256(i int) (sum [sha256.Size]byte, ok bool) {
	if c.sums == nil {
		return sum, false
	}
	return c.sums[i], true
}

// At returns the index of the file that holds the torrent's byte at off, with
// 0 <= off < Size.
func (c *Content) At(off int64) int {
	// The last file that begins at or before off: empty files before it begin there too.
	return sort.Search(len(c.offsets), func(i int) bool { return c.offsets[i] > off }) - 1
}

// Lookup returns the index of the file with a path as in File.Path (the
// release's name included).
func (c *Content) Lookup(path string) (int, bool) {
	i, ok := slices.BinarySearchFunc(c.byPath, path, func(i int32, p string) int { return strings.Compare(c.Files[i].Path, p) })
	if !ok {
		return 0, false
	}
	return int(c.byPath[i]), true
}

// WithPrefix returns the indices of all files whose path begins with prefix,
// in the order of their paths.
func (c *Content) WithPrefix(prefix string) []int32 {
	from, _ := slices.BinarySearchFunc(c.byPath, prefix, func(i int32, p string) int { return strings.Compare(c.Files[i].Path, p) })
	to := from
	for to < len(c.byPath) && strings.HasPrefix(c.Files[c.byPath[to]].Path, prefix) {
		to++
	}
	return c.byPath[from:to]
}

// Content returns a release with its files. It reads them from disk unless
// they were used lately, and returns ErrUnknown (wrapped) for an unknown release.
func (c *Catalog) Content(ih infohash.T) (*Content, error) {
	c.mu.Lock()
	r := c.byHash[ih]
	got := c.contents.get(ih)
	c.mu.Unlock()
	if r == nil {
		return nil, fmt.Errorf("read the files of %v: %w", ih, ErrUnknown)
	}
	if got != nil {
		return got, nil
	}
	rec, err := readRecord(c.path(ih, ".json"))
	if err != nil {
		return nil, err
	}
	if err := rec.check(ih); err != nil {
		return nil, fmt.Errorf("read the files of %v: %w", ih, err)
	}
	files, sums := rec.files()
	content := newContent(*rec.release(ih), files, sums)
	c.mu.Lock()
	if c.byHash[ih] == r { // else it changed while it was read
		c.contents.put(ih, content)
	}
	c.mu.Unlock()
	return content, nil
}

// contentFiles bounds the files that the cache of Contents holds, about 300 B each.
const contentFiles = 200_000

// contentCache keeps the Contents used last. The zero value is ready; its owner locks.
type contentCache struct {
	byHash map[infohash.T]*list.Element // of *Content
	used   list.List                    // front: last used
	files  int
}

func (cc *contentCache) get(ih infohash.T) *Content {
	e := cc.byHash[ih]
	if e == nil {
		return nil
	}
	cc.used.MoveToFront(e)
	return e.Value.(*Content)
}

func (cc *contentCache) put(ih infohash.T, c *Content) {
	cc.drop(ih)
	if cc.byHash == nil {
		cc.byHash = make(map[infohash.T]*list.Element)
	}
	cc.byHash[ih] = cc.used.PushFront(c)
	cc.files += len(c.Files)
	for cc.files > contentFiles && cc.used.Len() > 1 {
		cc.drop(cc.used.Back().Value.(*Content).InfoHash)
	}
}

func (cc *contentCache) drop(ih infohash.T) {
	if e := cc.byHash[ih]; e != nil {
		cc.used.Remove(e)
		delete(cc.byHash, ih)
		cc.files -= len(e.Value.(*Content).Files)
	}
}
