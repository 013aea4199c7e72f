// Package cached keeps content of a slow source in memory, and if wanted on disk,
// block by block.
//
// A [Cache] opens files as the [watcher.Opener] below it does, and reads them in
// blocks, which lie as the caller says: as the pieces of a torrent, for one. Blocks that were read are kept, those used last the
// longest, within a bound for all files together. Readers who want the same
// block make one read of it, and who reads on from one block to the next finds
// it on its way. Content that is found changed stays so for everybody who has it
// open.
//
// The package does not verify what it is given: the Opener below refuses what is
// no longer what was listed, with every read. What it finds on disk it verifies.
package cached

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"dropseed/watcher"
)

// Options bound a Cache. Zero values stand for the defaults.
type Options struct {
	Grid     Grid  // the blocks unless Open is told of others; Length 0: 1 MiB
	Memory   int64 // bytes of blocks that are kept; 0: 256 MiB
	Distance int64 // bytes that are read ahead of who reads on, one block at least; 0: that
	Ahead    int   // blocks that are read ahead at a time, for all files together; 0: 8

	// Patience is how long the read of a block that failed is tried again, unless
	// its content has changed or is gone; 0: not at all.
	Patience time.Duration

	Disk   *Disk  // keeps blocks as well; nil: none does
	Source string // tells the files of a Cache from those of others that share the Disk
}

// Streaming returns the Options for content that is read once, from its front to
// its end: large reads, many at a time, and nothing kept for longer than that takes.
func Streaming() Options {
	const read, ahead = 4 << 20, 16
	return Options{Grid: Grid{Length: read}, Memory: 2 * ahead * read, Distance: ahead * read, Ahead: ahead}
}

// Usage is what became of the blocks that were asked for.
type Usage struct {
	Memory, Disk, Below int64 // blocks that were found in memory (or on their way), on disk, and neither
}

// Grid says where the blocks of a file begin.
type Grid struct {
	Length int64 // bytes of a block
	Lead   int64 // bytes of the first block that lie before the file; less than Length
}

// bounds returns where a block begins and ends in a file of the given size.
func (g Grid) bounds(index, size int64) (from, to int64) {
	return max(0, index*g.Length-g.Lead), min(size, (index+1)*g.Length-g.Lead)
}

// at returns the index of the block that holds the byte at off.
func (g Grid) at(off int64) int64 { return (off + g.Lead) / g.Length }

// retryFirst is how long the read of a block that failed waits, longer each time up
// to retryMost.
const (
	retryFirst = 250 * time.Millisecond
	retryMost  = 4 * time.Second
)

// filesMost is how many files stay open that nobody has open.
const filesMost = 256

// Cache is safe for concurrent use.
type Cache struct {
	below watcher.Opener
	o     Options
	ahead chan struct{} // holds a token per block that is being read ahead
	hurry chan struct{} // closed when nobody is to wait any more
	once  sync.Once     // closes hurry
	wg    sync.WaitGroup

	mu     sync.Mutex // guards the fields below, and the fields of files and blocks that say so
	closed bool
	files  map[fileKey]*file
	idle   list.List // of *file that nobody has open; front: since the longest
	blocks map[blockKey]*block
	used   list.List // of *block that are ready; front: used last
	size   int64     // bytes of the blocks in used
	usage  Usage
}

type fileKey struct {
	path, version string
	size          int64
	grid          Grid
}

type blockKey struct {
	file  fileKey
	index int64
}

// file is one file below, shared by all that have it open.
type file struct {
	key  fileKey
	desc watcher.File

	open sync.Mutex     // held while it is opened
	obj  watcher.Object // nil: not opened yet; guarded by open

	refs    int           // guarded by Cache.mu, as are those below
	place   *list.Element // in Cache.idle
	changed error         // wraps ErrChanged once that is known
}

// block is a part of a file that is here or being read.
type block struct {
	key   blockKey
	ready chan struct{} // closed when data and err are set
	data  []byte
	err   error
	place *list.Element // in Cache.used; guarded by Cache.mu
}

// New returns a Cache of what an Opener opens.
func New(below watcher.Opener, o Options) *Cache {
	o.Grid.Length = cmp.Or(max(o.Grid.Length, 0), 1<<20)
	o.Memory = cmp.Or(max(o.Memory, 0), 256<<20)
	o.Ahead = cmp.Or(max(o.Ahead, 0), 8)
	return &Cache{
		below: below, o: o, ahead: make(chan struct{}, o.Ahead), hurry: make(chan struct{}),
		files: make(map[fileKey]*file), blocks: make(map[blockKey]*block),
	}
}

// Open is OpenOn with the grid of Options: a Cache is a [watcher.Opener].
func (c *Cache) Open(ctx context.Context, f watcher.File) (watcher.Object, error) {
	return c.OpenOn(ctx, f, c.o.Grid)
}

// OpenOn opens a file whose blocks lie on a grid. Unless it is open already, the
// Opener below is asked whether it still is what was listed.
func (c *Cache) OpenOn(ctx context.Context, f watcher.File, g Grid) (watcher.Object, error) {
	key := fileKey{f.Path, f.Version, f.Size, g}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, fmt.Errorf("open %q: the cache is closed", f.Path)
	}
	e := c.files[key]
	if e == nil {
		e = &file{key: key, desc: f}
		c.files[key] = e
	} else if e.place != nil {
		c.idle.Remove(e.place)
		e.place = nil
	}
	e.refs++
	err := e.changed
	c.mu.Unlock()
	if err == nil {
		_, err = c.object(ctx, e)
	}
	if err != nil {
		c.leave(e)
		return nil, err
	}
	return &object{cache: c, file: e}, nil
}

// object returns what is below a file, which it opens if need be.
func (c *Cache) object(ctx context.Context, e *file) (watcher.Object, error) {
	e.open.Lock()
	defer e.open.Unlock()
	if e.obj != nil {
		return e.obj, nil
	}
	obj, err := c.below.Open(ctx, e.desc)
	if err != nil {
		return nil, c.note(e, err)
	}
	e.obj = obj
	return obj, nil
}

// note remembers of a file that it has changed, if the error says so.
func (c *Cache) note(e *file, err error) error {
	if errors.Is(err, watcher.ErrChanged) {
		c.mu.Lock()
		e.changed = err
		c.mu.Unlock()
	}
	return err
}

// leave takes back what Open counted. Files that nobody has open stay open
// below, within filesMost.
func (c *Cache) leave(e *file) {
	var surplus *file
	c.mu.Lock()
	if e.refs--; e.refs == 0 {
		switch {
		case e.changed != nil || c.closed:
			delete(c.files, e.key)
			surplus = e
		default:
			e.place = c.idle.PushBack(e)
			if c.idle.Len() > filesMost {
				surplus = c.idle.Remove(c.idle.Front()).(*file)
				delete(c.files, surplus.key)
			}
		}
	}
	c.mu.Unlock()
	if surplus != nil {
		surplus.close()
	}
}

func (e *file) close() {
	e.open.Lock()
	defer e.open.Unlock()
	if e.obj != nil {
		e.obj.Close()
		e.obj = nil
	}
}

// Hurry ends the Patience: from now on reads that fail are not tried again.
func (c *Cache) Hurry() { c.once.Do(func() { close(c.hurry) }) }

// Hurried returns what is closed by Hurry.
func (c *Cache) Hurried() <-chan struct{} { return c.hurry }

// Close waits for what is being read ahead and lets go of everything. Objects
// that are open still read what is below, and nothing is kept any more.
func (c *Cache) Close() error {
	c.Hurry()
	c.mu.Lock()
	c.closed = true
	var idle []*file
	for e := c.idle.Front(); e != nil; e = c.idle.Front() {
		f := c.idle.Remove(e).(*file)
		delete(c.files, f.key)
		idle = append(idle, f)
	}
	c.mu.Unlock()
	c.wg.Wait()
	for _, f := range idle {
		f.close()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.blocks)
	c.used.Init()
	c.size = 0
	return nil
}

// get returns a block of a file, which it reads unless it is here or somebody
// else reads it.
func (c *Cache) get(e *file, index int64) ([]byte, error) {
	b, mine := c.claim(e, index)
	if mine {
		c.fill(e, b)
	}
	<-b.ready
	return b.data, b.err
}

// claim returns a block; mine says that the caller must fill it.
func (c *Cache) claim(e *file, index int64) (b *block, mine bool) {
	key := blockKey{e.key, index}
	c.mu.Lock()
	defer c.mu.Unlock()
	if b = c.blocks[key]; b != nil {
		c.usage.Memory++
		if b.place != nil {
			c.used.MoveToFront(b.place)
		}
		return b, false
	}
	b = &block{key: key, ready: make(chan struct{})}
	c.blocks[key] = b
	return b, true
}

// fill reads a block. One that cannot be read is not kept: the next who wants it
// tries again.
func (c *Cache) fill(e *file, b *block) {
	b.data, b.err = c.read(e, b.key)
	c.mu.Lock()
	defer c.mu.Unlock()
	defer close(b.ready)
	if b.err != nil || c.closed {
		delete(c.blocks, b.key)
		return
	}
	b.place = c.used.PushFront(b)
	c.size += int64(len(b.data))
	for c.size > c.o.Memory && c.used.Len() > 1 {
		old := c.used.Remove(c.used.Back()).(*block)
		delete(c.blocks, old.key)
		c.size -= int64(len(old.data))
	}
}

// read reads a block from disk, or else from below.
func (c *Cache) read(e *file, key blockKey) ([]byte, error) {
	c.mu.Lock()
	err := e.changed
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	d := c.o.Disk
	if d == nil {
		return c.readBelow(e, key.index)
	}
	off, end := e.key.grid.bounds(key.index, e.key.size)
	name := d.name(c.o.Source, key)
	if data := d.get(name, end-off); data != nil {
		c.count(func(u *Usage) { u.Disk++ })
		return data, nil
	}
	data, err := c.readBelow(e, key.index)
	if err == nil {
		d.put(name, data)
	}
	return data, err
}

func (c *Cache) count(add func(*Usage)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	add(&c.usage)
}

// Usage returns what became of the blocks that were asked for so far.
func (c *Cache) Usage() Usage {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.usage
}

// readBelow reads a block from below, with patience.
func (c *Cache) readBelow(e *file, index int64) ([]byte, error) {
	c.count(func(u *Usage) { u.Below++ })
	began, wait := time.Now(), retryFirst
	for {
		data, err := c.tryBelow(e, index)
		if err == nil || errors.Is(err, watcher.ErrChanged) || errors.Is(err, fs.ErrNotExist) || time.Since(began)+wait > c.o.Patience {
			return data, err
		}
		select {
		case <-c.hurry:
			return nil, err
		case <-time.After(wait):
			wait = min(2*wait, retryMost)
		}
	}
}

func (c *Cache) tryBelow(e *file, index int64) ([]byte, error) {
	obj, err := c.object(context.Background(), e) // for all who want it, not for who came first
	if err != nil {
		return nil, err
	}
	off, end := e.key.grid.bounds(index, e.key.size)
	data := make([]byte, end-off)
	if n, err := obj.ReadAt(data, off); n < len(data) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, c.note(e, fmt.Errorf("read %d bytes of %q at %d: %w", len(data), e.key.path, off, err))
	}
	return data, nil
}

// readAhead has a block read that somebody will want, unless enough are being read.
func (c *Cache) readAhead(e *file, index int64) {
	if from, _ := e.key.grid.bounds(index, e.key.size); from >= e.key.size {
		return
	}
	b := &block{key: blockKey{e.key, index}, ready: make(chan struct{})}
	c.mu.Lock()
	if c.closed || c.blocks[b.key] != nil {
		c.mu.Unlock()
		return
	}
	select {
	case c.ahead <- struct{}{}:
	default:
		c.mu.Unlock()
		return
	}
	c.blocks[b.key] = b
	e.refs++
	c.wg.Add(1)
	c.mu.Unlock()
	go func() {
		defer c.wg.Done()
		defer c.leave(e)
		c.fill(e, b)
		<-c.ahead
	}()
}

// object is a file that somebody has open.
type object struct {
	cache *Cache
	file  *file
	once  sync.Once

	mu   sync.Mutex // guards the fields below
	last int64      // the block that was read last, plus one; 0: none
	told bool       // its reader says what it will read
}

// ReadAt reads what is not here block by block.
func (o *object) ReadAt(p []byte, off int64) (n int, err error) {
	size, grid := o.file.key.size, o.file.key.grid
	if off < 0 {
		return 0, fmt.Errorf("read %q at %d: negative offset", o.file.key.path, off)
	}
	for n < len(p) && off < size {
		index := grid.at(off)
		if o.moved(index) {
			for i := range max(1, o.cache.o.Distance/grid.Length) {
				o.cache.readAhead(o.file, index+1+i)
			}
		}
		data, err := o.cache.get(o.file, index)
		if err != nil {
			return n, err
		}
		from, _ := grid.bounds(index, size)
		m := copy(p[n:], data[off-from:])
		n, off = n+m, off+int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Prefetch has the blocks read that hold n bytes from off on, as far as there is
// room for that.
func (o *object) Prefetch(off, n int64) {
	o.mu.Lock()
	o.told = true
	o.mu.Unlock()
	grid := o.file.key.grid
	for i := grid.at(off); i <= grid.at(off+n-1) && n > 0; i++ {
		o.cache.readAhead(o.file, i)
	}
}

// moved notes which block is read, and reports whether that is the one after the
// last, or the first: its reader reads on, unless it is one that says so itself.
func (o *object) moved(index int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	on := index == o.last && !o.told
	if index+1 != o.last {
		o.last = index + 1
	}
	return on
}

// Check returns ErrChanged once a read of anybody's has found that.
func (o *object) Check() error {
	o.cache.mu.Lock()
	defer o.cache.mu.Unlock()
	return o.file.changed
}

// Close may be called twice.
func (o *object) Close() error {
	o.once.Do(func() { o.cache.leave(o.file) })
	return nil
}
