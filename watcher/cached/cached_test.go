package cached

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dropseed/watcher"
)

// below is an Opener of one file, which counts what is asked of it.
type below struct {
	content []byte
	slow    time.Duration // that a read takes
	opens   atomic.Int32
	reads   atomic.Int32
	closed  atomic.Int32

	mu  sync.Mutex // guards the field below
	err error      // what every read returns from now on
}

func (b *below) Open(context.Context, watcher.File) (watcher.Object, error) {
	b.opens.Add(1)
	return b, nil
}

func (b *below) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

// truncate makes answers end early.
func (b *below) truncate(size int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.content = b.content[:size]
}

func (b *below) ReadAt(p []byte, off int64) (int, error) {
	b.reads.Add(1)
	time.Sleep(b.slow)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return 0, b.err
	}
	return bytes.NewReader(b.content).ReadAt(p, off)
}

func (b *below) Check() error { return nil }
func (b *below) Close() error { b.closed.Add(1); return nil }

const testBlock = 1000

func newBelow(blocks int) *below {
	b := &below{content: make([]byte, blocks*testBlock-1)} // the last block is short
	for i := range b.content {
		b.content[i] = byte(i * 31 >> 3)
	}
	return b
}

func (b *below) file() watcher.File {
	return watcher.File{Path: "a", Size: int64(len(b.content)), Version: "1"}
}

func open(t *testing.T, c *Cache, f watcher.File) watcher.Object {
	t.Helper()
	obj, err := c.Open(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { obj.Close() })
	return obj
}

func TestReadsAnyRange(t *testing.T) {
	b := newBelow(7)
	c := New(b, Options{Grid: Grid{Length: testBlock}})
	obj := open(t, c, b.file())
	size := len(b.content)
	for _, r := range [][2]int{{0, size}, {0, 1}, {999, 2}, {1000, 1000}, {2500, 3100}, {size - 1, 1}, {6, 0}} {
		got := make([]byte, r[1])
		if n, err := obj.ReadAt(got, int64(r[0])); n != r[1] || err != nil || !bytes.Equal(got, b.content[r[0]:r[0]+r[1]]) {
			t.Errorf("%d bytes at %d: %d, %v", r[1], r[0], n, err)
		}
	}
	if n, err := obj.ReadAt(make([]byte, 10), int64(size-3)); n != 3 || err != io.EOF {
		t.Errorf("beyond the end: %d, %v", n, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if b.reads.Load() != 7 || b.opens.Load() != 1 {
		t.Errorf("%d reads of 7 blocks, %d opens", b.reads.Load(), b.opens.Load())
	}
}

func TestBlocksLieOnTheGrid(t *testing.T) {
	b := newBelow(3)
	c := New(b, Options{})
	obj, err := c.OpenOn(t.Context(), b.file(), Grid{Length: testBlock, Lead: 300})
	if err != nil {
		t.Fatal(err)
	}
	defer obj.Close()
	for _, row := range []struct{ off, n, reads int }{
		{710, 1, 1}, {1690, 9, 1}, {1690, 11, 2}, {690, 20, 3}, {2701, 298, 4},
	} {
		got := make([]byte, row.n)
		if _, err := obj.ReadAt(got, int64(row.off)); err != nil || !bytes.Equal(got, b.content[row.off:row.off+row.n]) {
			t.Errorf("%d bytes at %d: %v", row.n, row.off, err)
		}
		c.wg.Wait()
		if n := int(b.reads.Load()); n < row.reads {
			t.Errorf("%d reads after %d bytes at %d, want %d", n, row.n, row.off, row.reads)
		}
	}
	if n := b.reads.Load(); n > 5 {
		t.Errorf("%d reads of the file's four blocks", n)
	}
	c.Close()
}

func TestReadersTogetherMakeOneRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBelow(1)
		b.slow = time.Second
		c := New(b, Options{Grid: Grid{Length: testBlock}})
		var wg sync.WaitGroup
		for range 50 {
			obj := open(t, c, b.file())
			wg.Go(func() {
				got := make([]byte, 10)
				if _, err := obj.ReadAt(got, 5); err != nil || !bytes.Equal(got, b.content[5:15]) {
					t.Errorf("%v: %v", got, err)
				}
			})
		}
		wg.Wait()
		if b.reads.Load() != 1 || b.opens.Load() != 1 {
			t.Errorf("%d reads, %d opens", b.reads.Load(), b.opens.Load())
		}
		c.Close()
	})
}

func TestWhoReadsOnFindsTheNextBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBelow(20)
		b.slow = time.Second
		c := New(b, Options{Grid: Grid{Length: testBlock}})
		obj := open(t, c, b.file())
		read := func(block int64) time.Duration {
			start := time.Now()
			if _, err := obj.ReadAt(make([]byte, 10), block*testBlock); err != nil {
				t.Error(err)
			}
			took := time.Since(start)
			synctest.Wait()
			return took
		}
		if took := read(0); took != time.Second {
			t.Errorf("the first block took %v", took)
		}
		time.Sleep(2 * time.Second)
		if took := read(1); took != 0 {
			t.Errorf("the second took %v", took)
		}
		time.Sleep(2 * time.Second)
		read(10) // elsewhere: nothing is read ahead
		time.Sleep(2 * time.Second)
		if n := b.reads.Load(); n != 4 {
			t.Errorf("%d reads, want those of blocks 0, 1, 2 and 10", n)
		}
		c.Close()
	})
}

func TestMemoryIsBounded(t *testing.T) {
	b := newBelow(50)
	c := New(b, Options{Grid: Grid{Length: testBlock}, Memory: 5 * testBlock, Ahead: 1})
	obj := open(t, c, b.file())
	for i := range int64(50) {
		if _, err := obj.ReadAt(make([]byte, 10), (i*7%50)*testBlock); err != nil {
			t.Fatal(err)
		}
	}
	c.mu.Lock()
	if c.size > 5*testBlock || c.used.Len() > 5 {
		t.Errorf("%d bytes in %d blocks are kept", c.size, c.used.Len())
	}
	c.mu.Unlock()
	if err := c.Close(); err != nil || len(c.blocks) > 0 {
		t.Errorf("%d blocks after Close, %v", len(c.blocks), err)
	}
}

func TestContentThatChangedStaysChanged(t *testing.T) {
	b := newBelow(9)
	c := New(b, Options{Grid: Grid{Length: testBlock}, Ahead: 1})
	first, second := open(t, c, b.file()), open(t, c, b.file())
	if _, err := first.ReadAt(make([]byte, 1), 5*testBlock); err != nil {
		t.Fatal(err)
	}
	b.fail(watcher.ErrChanged)
	if _, err := first.ReadAt(make([]byte, 1), 8*testBlock); !errors.Is(err, watcher.ErrChanged) {
		t.Errorf("a read: %v", err)
	}
	if err := second.Check(); !errors.Is(err, watcher.ErrChanged) {
		t.Errorf("another's Check: %v", err)
	}
	if _, err := c.Open(t.Context(), b.file()); !errors.Is(err, watcher.ErrChanged) {
		t.Errorf("Open: %v", err)
	}
	first.Close()
	second.Close()
	b.fail(nil) // as it was listed again
	if obj := open(t, c, b.file()); obj.Check() != nil {
		t.Error("a listing later, it is still changed")
	}
	c.Close()
}

func TestWhatFailsIsTriedAgain(t *testing.T) {
	b := newBelow(4)
	c := New(b, Options{Grid: Grid{Length: testBlock}})
	obj := open(t, c, b.file())
	down := errors.New("down")
	b.fail(down)
	if _, err := obj.ReadAt(make([]byte, 1), 0); !errors.Is(err, down) || obj.Check() != nil {
		t.Errorf("%v, %v", err, obj.Check())
	}
	b.fail(nil)
	if _, err := obj.ReadAt(make([]byte, 1), 0); err != nil {
		t.Error(err)
	}
	b.truncate(3*testBlock + 500)
	if _, err := obj.ReadAt(make([]byte, 1), 3*testBlock); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a short read: %v", err)
	}
	c.Close()
}

func TestWhatIsToldIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBelow(20)
		b.slow = time.Second
		c := New(b, Options{Grid: Grid{Length: testBlock}, Ahead: 4})
		obj := open(t, c, b.file())
		obj.(watcher.Prefetcher).Prefetch(5*testBlock+500, 2*testBlock) // in blocks 5, 6 and 7
		obj.(watcher.Prefetcher).Prefetch(6*testBlock, 1)               // is on its way
		obj.(watcher.Prefetcher).Prefetch(19*testBlock, 5*testBlock)    // up to the end, and no further
		obj.(watcher.Prefetcher).Prefetch(12*testBlock, testBlock)      // there is no room
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		if n := b.reads.Load(); n != 4 {
			t.Errorf("%d reads, want those of blocks 5, 6, 7 and 19", n)
		}
		start := time.Now()
		for _, block := range []int64{5, 6, 7, 19} {
			got := make([]byte, 10)
			if _, err := obj.ReadAt(got, block*testBlock); err != nil || !bytes.Equal(got, b.content[block*testBlock:][:10]) {
				t.Errorf("block %d: %v", block, err)
			}
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("it took %v to read what was told", took)
		}
		c.Close()
		if n := b.reads.Load(); n != 4 {
			t.Errorf("%d reads: it read on by itself", n)
		}
	})
}

func TestReadsArePatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBelow(9)
		c := New(b, Options{Grid: Grid{Length: testBlock}, Patience: time.Minute})
		obj := open(t, c, b.file())
		down := errors.New("down")
		read := func(block int64) (time.Duration, error) {
			start := time.Now()
			_, err := obj.ReadAt(make([]byte, 1), block*testBlock)
			return time.Since(start), err
		}
		b.fail(down)
		time.AfterFunc(50*time.Second, func() { b.fail(nil) })
		if took, err := read(2); err != nil || took < 50*time.Second || took > 50*time.Second+retryMost {
			t.Errorf("down for 50 s: %v after %v", err, took)
		}
		b.fail(down)
		if took, err := read(4); !errors.Is(err, down) || took > time.Minute || took < time.Minute-retryMost {
			t.Errorf("down for good: %v after %v", err, took)
		}
		b.fail(watcher.ErrChanged)
		if took, err := read(6); !errors.Is(err, watcher.ErrChanged) || took > 0 {
			t.Errorf("changed: %v after %v", err, took)
		}
		b.fail(down)
		other := b.file()
		other.Version = "2"
		obj = open(t, c, other)
		time.AfterFunc(time.Second, c.Hurry)
		if took, err := read(8); !errors.Is(err, down) || took != time.Second {
			t.Errorf("in a hurry: %v after %v", err, took)
		}
		c.Close()
	})
}

func TestFilesThatNobodyHasOpenAreBounded(t *testing.T) {
	b := newBelow(1)
	c := New(b, Options{Grid: Grid{Length: testBlock}})
	for i := range 3 * filesMost {
		f := b.file()
		f.Version = string(rune('a' + i))
		obj, err := c.Open(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		obj.Close()
		obj.Close() // does nothing more
	}
	if n := int(b.opens.Load() - b.closed.Load()); n != filesMost {
		t.Errorf("%d files are open", n)
	}
	c.Close()
	if b.opens.Load() != b.closed.Load() {
		t.Errorf("%d opens, %d closes", b.opens.Load(), b.closed.Load())
	}
}
