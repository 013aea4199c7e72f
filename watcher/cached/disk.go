package cached

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	diskQueue  = 1024        // blocks that wait to be written, ...
	diskWaits  = 64 << 20    // ... and bytes of them, but for one; more are not kept
	touchAfter = time.Minute // a block's time of use is written down so often
	partSuffix = ".part"     // of the name of a file that is being written
)

// Disk keeps blocks in a folder, within a bound. Those used last are kept the
// longest, also over restarts. Each is a file: the block, and behind it a SHA-256
// of the block and what it is a block of, without which it is not believed. So
// nothing need be synced: what a crash has torn is found when it is read. A folder
// belongs to one Disk at a time.
type Disk struct {
	dir   string
	limit int64 // bytes of files
	log   *slog.Logger

	writes chan diskWrite
	done   chan struct{} // closed when the last is written

	mu     sync.Mutex // guards the fields below
	closed bool
	failed bool  // that a block cannot be written was logged, and none was since
	waits  int64 // bytes that wait to be written
	blocks map[diskName]*list.Element
	used   list.List // of *diskBlock; front: used last
	size   int64     // bytes of files

	unwritten, damaged int64 // blocks that could not be written, and that were not what was written
}

// diskName says what a file is a block of: its source, path, version, size, grid
// and index, hashed.
type diskName [sha256.Size]byte

type diskBlock struct {
	name    diskName
	size    int64     // bytes of the file
	touched time.Time // what the file says of its use
}

type diskWrite struct {
	name diskName
	data []byte
}

// OpenDisk opens a folder of blocks, which it creates if need be, and removes what
// is more than limit bytes. log may be nil.
func OpenDisk(dir string, limit int64, log *slog.Logger) (*Disk, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	d := &Disk{
		dir: dir, limit: limit, log: log, blocks: make(map[diskName]*list.Element),
		writes: make(chan diskWrite, diskQueue), done: make(chan struct{}),
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the folder of the cache: %w", err)
	}
	if err := d.load(); err != nil {
		return nil, fmt.Errorf("read the folder of the cache: %w", err)
	}
	go d.write()
	return d, nil
}

// load notes the blocks of the folder, and removes what was being written. What
// else is there stays: who knows whose it is.
func (d *Disk) load() error {
	var found []*diskBlock
	for i := range 256 {
		dir := filepath.Join(d.dir, fmt.Sprintf("%02x", i))
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			text, part := strings.CutSuffix(e.Name(), partSuffix)
			b := &diskBlock{}
			if n, err := hex.Decode(b.name[:], []byte(text[:min(len(text), 2*sha256.Size)])); err != nil || n < sha256.Size || d.path(b.name) != filepath.Join(dir, text) {
				continue
			}
			if part {
				if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
					return err
				}
				continue
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			b.size, b.touched = info.Size(), info.ModTime()
			found = append(found, b)
		}
	}
	slices.SortFunc(found, func(a, b *diskBlock) int { return b.touched.Compare(a.touched) })
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range found {
		d.blocks[b.name] = d.used.PushBack(b)
		d.size += b.size
	}
	d.evict()
	return nil
}

// name returns what a block is called.
func (d *Disk) name(source string, k blockKey) diskName {
	var b []byte
	for _, s := range []string{source, k.file.path, k.file.version} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	for _, n := range []int64{k.file.size, k.file.grid.Length, k.file.grid.Lead, k.index} {
		b = binary.AppendVarint(b, n)
	}
	return sha256.Sum256(b)
}

func (d *Disk) path(name diskName) string {
	text := hex.EncodeToString(name[:])
	return filepath.Join(d.dir, text[:2], text)
}

// seal returns what stands behind a block in its file.
func seal(name diskName, data []byte) [sha256.Size]byte {
	h := sha256.New()
	h.Write(name[:])
	h.Write(data)
	return [sha256.Size]byte(h.Sum(nil))
}

// get returns a block of n bytes, or nil if it is not here or not what was
// written.
func (d *Disk) get(name diskName, n int64) []byte {
	d.mu.Lock()
	e := d.blocks[name]
	if e == nil {
		d.mu.Unlock()
		return nil
	}
	d.used.MoveToFront(e)
	b, now := e.Value.(*diskBlock), time.Now()
	touch := now.Sub(b.touched) > touchAfter
	if touch {
		b.touched = now
	}
	d.mu.Unlock()

	path := d.path(name)
	file, err := os.ReadFile(path)
	if int64(len(file)) != n+sha256.Size || seal(name, file[:n]) != [sha256.Size]byte(file[n:]) {
		if d.forget(name) {
			d.log.Warn("a block in the cache folder is damaged and is fetched again", "path", path, "err", err)
		}
		return nil
	}
	if touch {
		_ = os.Chtimes(path, now, now) // only the order after a restart depends on it
	}
	return file[:n:n]
}

// forget removes a block that is damaged, and reports whether it was there.
func (d *Disk) forget(name diskName) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.blocks[name]
	if e != nil {
		d.remove(e)
		d.damaged++
	}
	return e != nil
}

// remove removes a block. d.mu is held, so that none of that name is written meanwhile.
func (d *Disk) remove(e *list.Element) {
	b := d.used.Remove(e).(*diskBlock)
	delete(d.blocks, b.name)
	d.size -= b.size
	if err := os.Remove(d.path(b.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("a block in the cache folder cannot be removed", "err", err)
	}
}

// evict removes the blocks that were not used for the longest, until the rest is
// within the limit. d.mu is held.
func (d *Disk) evict() {
	for d.size > d.limit && d.used.Len() > 0 {
		d.remove(d.used.Back())
	}
}

// put has a block written, unless there is too much to write already.
func (d *Disk) put(name diskName, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := int64(len(data))
	if d.closed || d.blocks[name] != nil || n+sha256.Size > d.limit || d.waits > 0 && d.waits+n > diskWaits {
		return
	}
	select {
	case d.writes <- diskWrite{name, data}:
		d.waits += n
	default:
	}
}

func (d *Disk) write() {
	defer close(d.done)
	for w := range d.writes {
		err := d.store(w)
		d.mu.Lock()
		d.waits -= int64(len(w.data))
		tell := err != nil && !d.failed
		d.failed = err != nil
		if d.failed {
			d.unwritten++
		}
		d.mu.Unlock()
		if tell {
			d.log.Warn("a block cannot be kept in the cache folder", "err", err)
		}
	}
}

// store writes a block under another name first, so that it is there whole.
func (d *Disk) store(w diskWrite) error {
	path := d.path(w.name)
	part := path + partSuffix
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	sum := seal(w.name, w.data)
	_, err = f.Write(w.data)
	if err == nil {
		_, err = f.Write(sum[:])
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := os.Rename(part, path); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	if d.blocks[w.name] == nil {
		b := &diskBlock{name: w.name, size: int64(len(w.data)) + sha256.Size, touched: time.Now()}
		d.blocks[w.name] = d.used.PushFront(b)
		d.size += b.size
		d.evict()
	}
	return nil
}

// Close writes what waits to be written. What comes later is not kept.
func (d *Disk) Close() error {
	d.mu.Lock()
	if !d.closed {
		d.closed = true
		close(d.writes)
	}
	d.mu.Unlock()
	<-d.done
	return nil
}

// Usage returns how many bytes of files are kept.
func (d *Disk) Usage() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.size
}
