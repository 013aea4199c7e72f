package cached

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"testing"
	"time"

	"dropseed/watcher"
)

func openDisk(t *testing.T, dir string, limit int64) *Disk {
	t.Helper()
	d, err := OpenDisk(dir, limit, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// onDisk returns a Cache with hardly any memory.
func onDisk(b *below, d *Disk) *Cache {
	return New(b, Options{Grid: Grid{Length: testBlock}, Memory: 1, Ahead: 1, Disk: d, Source: "s"})
}

// readAll reads a file block by block, last one first, so that none is read ahead.
func readAll(t *testing.T, c *Cache, b *below, f watcher.File) {
	t.Helper()
	obj := open(t, c, f)
	for off := (f.Size - 1) / testBlock * testBlock; off >= 0; off -= testBlock {
		got := make([]byte, min(testBlock, f.Size-off))
		if _, err := obj.ReadAt(got, off); err != nil || !bytes.Equal(got, b.content[off:off+int64(len(got))]) {
			t.Fatalf("block at %d: %v", off, err)
		}
	}
	c.wg.Wait()
	obj.Close()
}

// written waits until nothing is to be written.
func (d *Disk) written(t *testing.T, blocks int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		d.mu.Lock()
		n := d.used.Len()
		d.mu.Unlock()
		if n == blocks {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d blocks are on disk, want %d", n, blocks)
		}
	}
}

// files returns the files below a folder.
func files(t *testing.T, dir string) (paths []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "??", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestDiskKeepsBlocksOverRestarts(t *testing.T) {
	b, dir := newBelow(9), t.TempDir()
	d := openDisk(t, dir, 1<<20)
	c := onDisk(b, d)
	readAll(t, c, b, b.file())
	c.Close()
	d.Close() // writes what waits
	d.written(t, 9)
	reads := b.reads.Load()

	d = openDisk(t, dir, 1<<20)
	c = onDisk(b, d)
	readAll(t, c, b, b.file())
	if n := b.reads.Load() - reads; n != 0 {
		t.Errorf("%d reads of what is on disk", n)
	}
	if u := c.Usage(); u.Below != 0 || u.Disk < 9 {
		t.Errorf("%+v", u)
	}
	changed := b.file()
	changed.Version = "2"
	readAll(t, c, b, changed)
	if n := b.reads.Load() - reads; n < 9 {
		t.Errorf("%d reads of another version's 9 blocks", n)
	}
	other := New(b, Options{Grid: Grid{Length: testBlock}, Disk: d, Source: "other"})
	before := b.reads.Load()
	readAll(t, other, b, b.file())
	if n := b.reads.Load() - before; n < 9 {
		t.Errorf("%d reads of another source's 9 blocks", n)
	}
	c.Close()
	other.Close()
}

func TestDamageOnDiskIsFoundAndFetchedAgain(t *testing.T) {
	b, dir := newBelow(4), t.TempDir()
	d := openDisk(t, dir, 1<<20)
	c := onDisk(b, d)
	readAll(t, c, b, b.file())
	c.Close()
	d.Close()
	blocks := files(t, dir)
	if len(blocks) != 4 {
		t.Fatalf("%d files", len(blocks))
	}
	first, err := os.ReadFile(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(first)
	flipped[100] ^= 1
	for path, data := range map[string][]byte{
		blocks[0]:              first[:len(first)/2], // torn by a crash
		blocks[1]:              flipped,
		blocks[2]:              first, // another block's
		blocks[3]:              {},
		blocks[3] + partSuffix: first,
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	foreign := filepath.Join(dir, "ab", "notes.txt")
	if err := os.MkdirAll(filepath.Dir(foreign), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(foreign, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}

	reads := b.reads.Load()
	d = openDisk(t, dir, 1<<20)
	c = onDisk(b, d)
	readAll(t, c, b, b.file()) // compares
	if n := b.reads.Load() - reads; n < 4 {
		t.Errorf("%d reads of 4 damaged blocks", n)
	}
	c.Close()
	d.Close()
	d.written(t, 4)
	if _, err := os.Stat(blocks[3] + partSuffix); err == nil {
		t.Error("what was being written is still there")
	}
	if data, err := os.ReadFile(foreign); err != nil || string(data) != "mine" {
		t.Errorf("a file of somebody else: %q, %v", data, err)
	}
}

func TestDiskStaysWithinItsLimitAndKeepsWhatWasUsedLast(t *testing.T) {
	const kept = 3
	limit := int64(kept * (testBlock + sha256.Size))
	b, dir := newBelow(8), t.TempDir()
	d := openDisk(t, dir, limit)
	c := onDisk(b, d)
	obj := open(t, c, b.file())
	read := func(block int64) {
		t.Helper()
		if _, err := obj.ReadAt(make([]byte, 1), block*testBlock); err != nil {
			t.Fatal(err)
		}
		c.wg.Wait()
	}
	for i, block := range []int64{6, 4, 2} {
		read(block)
		d.written(t, i+1)
	}
	read(6) // from disk: it is used last
	read(0) // ... and reads 1 ahead, so that two have to go
	d.written(t, kept)
	if d.Usage() > limit {
		t.Errorf("%d bytes, more than %d", d.Usage(), limit)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		names := map[string]bool{}
		for _, path := range files(t, dir) {
			names[filepath.Base(path)] = true
		}
		six := d.name("s", blockKey{fileKey{"a", "1", int64(len(b.content)), Grid{Length: testBlock}}, 6})
		zero := d.name("s", blockKey{fileKey{"a", "1", int64(len(b.content)), Grid{Length: testBlock}}, 0})
		if len(names) == kept && names[filepath.Base(d.path(six))] && names[filepath.Base(d.path(zero))] {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d files, %v", len(names), names)
		}
	}
	c.Close()
	d.Close()

	old := time.Now().Add(-time.Hour)
	paths := files(t, dir)
	if err := os.Chtimes(paths[1], old, old); err != nil {
		t.Fatal(err)
	}
	openDisk(t, dir, limit-1) // one less than there are
	if left := files(t, dir); len(left) != kept-1 || left[0] != paths[0] || left[1] != paths[2] {
		t.Errorf("%v are left of %v", left, paths)
	}
}

func TestDiskThatCannotBeWrittenCostsNothingButItsUse(t *testing.T) {
	b, dir := newBelow(3), t.TempDir()
	d := openDisk(t, dir, 1<<20)
	for i := range 256 { // files where folders should be
		if err := os.WriteFile(filepath.Join(dir, string("0123456789abcdef"[i/16])+string("0123456789abcdef"[i%16])), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := onDisk(b, d)
	readAll(t, c, b, b.file())
	c.Close()
	d.Close()
	if d.Usage() != 0 {
		t.Errorf("%d bytes are said to be kept", d.Usage())
	}
	if _, err := OpenDisk(filepath.Join(dir, "00"), 1, nil); err == nil {
		t.Error("a file passes for a folder")
	}
}
