package torrentfile

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"sort"
	"sync"
	"sync/atomic"

	"dropseed/watcher"
)

// readSize is how much is read and hashed at once: it stays in a core's own cache until it
// is hashed, and takes a slow disk well below the time in which a cancelled
// Build must end.
const readSize = 256 << 10

// content reads files as one sequence of bytes, in stretches of equal length,
// several at once. A file is opened when its first stretch is read, and checked
// and closed when its last one was, so that only files across the ends of the
// stretches in hand are open.
type content struct {
	open    watcher.Opener
	stretch int64
	files   []contentFile // without the empty ones
}

type contentFile struct {
	file       watcher.File
	index      int   // among all files
	start, end int64 // offsets in the sequence

	once sync.Once // guards the opening
	obj  watcher.Object
	err  error

	unread atomic.Int64 // stretches that still need obj

	sum hash.Hash // of its bytes so far, if it goes on in another stretch; see fileSums
}

func newContent(files []watcher.File, open watcher.Opener, stretch int64) *content {
	c := &content{open: open, stretch: stretch, files: make([]contentFile, 0, len(files))}
	var pos int64
	for i, f := range files {
		if f.Size == 0 {
			continue
		}
		c.files = append(c.files, contentFile{file: f, index: i, start: pos, end: pos + f.Size})
		pos += f.Size
		last := &c.files[len(c.files)-1]
		last.unread.Store((last.end-1)/stretch - last.start/stretch + 1)
	}
	return c
}

// read gives the bytes from start to end, which are one stretch, to do, in order and
// readSize at a time. buf holds readSize of them, or all, which it then keeps. It may
// be called once per stretch, and for several at the same time.
func (c *content) read(ctx context.Context, start, end int64, buf []byte, do func([]byte)) error {
	pos, given := start, start
	for i := c.first(start); pos < end; i++ {
		f := &c.files[i]
		if err := f.acquire(ctx, c.open); err != nil {
			return err
		}
		for stop := min(f.end, end); pos < stop; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n := min(stop, given+readSize) - pos
			at := (given - start) % int64(len(buf))
			if err := f.readFull(buf[at+pos-given:at+pos-given+n], pos-f.start); err != nil {
				return err
			}
			if pos += n; pos == given+readSize || pos == end {
				do(buf[at : at+pos-given])
				given = pos
			}
		}
		if err := f.release(); err != nil {
			return err
		}
	}
	return nil
}

// first returns the index of the file that holds the byte at off.
func (c *content) first(off int64) int {
	return sort.Search(len(c.files), func(i int) bool { return c.files[i].end > off })
}

// close closes what a failed reading left open. Nobody may be reading.
func (c *content) close() {
	for i := range c.files {
		if f := &c.files[i]; f.obj != nil && f.unread.Load() > 0 {
			f.obj.Close()
		}
	}
}

func (f *contentFile) acquire(ctx context.Context, open watcher.Opener) error {
	f.once.Do(func() { f.obj, f.err = open.Open(ctx, f.file) })
	if f.err != nil {
		return fmt.Errorf("read %q: %w", f.file.Path, f.err)
	}
	return nil
}

// readFull fills b from offset off of the file. A file that ends early is not
// the one that was listed.
func (f *contentFile) readFull(b []byte, off int64) error {
	n, err := f.obj.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("read %q: it ends at byte %d, not %d: %w", f.file.Path, off+int64(n), f.file.Size, watcher.ErrChanged)
	}
	return fmt.Errorf("read %q at byte %d: %w", f.file.Path, off+int64(n), err)
}

// release says that a stretch was read. After the last one, the file is
// checked, since what was read before a change may be anything, and closed.
func (f *contentFile) release() error {
	if f.unread.Add(-1) > 0 {
		return nil
	}
	err := f.obj.Check()
	f.obj.Close() // it was only read: there is nothing to lose
	if err != nil {
		return fmt.Errorf("read %q: %w", f.file.Path, err)
	}
	return nil
}
