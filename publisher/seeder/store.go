package seeder

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
	"dropseed/watcher"
)

const (
	partSize  = 64 << 20         // bytes of a file that are mapped together
	mapLeast  = 256 << 10        // files below this are read: mapping them costs more
	partsMost = 512              // open at once, unless more are in use
	partsIdle = 60 * time.Second // unused ones are closed after this
)

// store keeps the open parts of files that all connections share.
type store struct {
	open func(ctx context.Context, c *catalog.Content, i int) (watcher.Object, error)

	mu    sync.Mutex // guards the fields below, and used, refs and gone of every part
	parts map[partKey]*part
	order list.List // of *part; front: used last
}

type partKey struct {
	ih   infohash.T
	file int32
	part int32
}

// part is an open stretch of a file. It is immutable once loaded.
type part struct {
	key  partKey
	load sync.Once
	err  error
	obj  watcher.Object
	data []byte // the mapping of the file's bytes from partSize·key.part on; nil when they must be read

	used  time.Time
	refs  int
	gone  bool // not to be found any more; closed with its last reference
	place *list.Element
}

func newStore(open func(context.Context, *catalog.Content, int) (watcher.Object, error)) *store {
	return &store{open: open, parts: make(map[partKey]*part)}
}

// pin returns the part of a file that holds its byte at off. Its content is
// what was listed at the moment of the call. The caller must unpin it.
func (st *store) pin(ctx context.Context, c *catalog.Content, file int, off int64) (*part, error) {
	key := partKey{c.InfoHash, int32(file), int32(off / partSize)}
	var surplus []*part
	st.mu.Lock()
	p := st.parts[key]
	if p == nil {
		p = &part{key: key}
		st.parts[key] = p
		p.place = st.order.PushFront(p)
		surplus = st.trim()
	} else {
		st.order.MoveToFront(p.place)
	}
	p.refs++
	p.used = time.Now()
	st.mu.Unlock()
	for _, q := range surplus {
		q.close()
	}

	p.load.Do(func() {
		ctx := context.WithoutCancel(ctx) // for all who want it, not for who came first
		p.obj, p.data, p.err = st.openPart(ctx, c, key)
	})
	err := p.err
	if err == nil {
		err = p.obj.Check()
	}
	if err != nil {
		st.mu.Lock()
		st.remove(p)
		st.mu.Unlock()
		st.unpin(p)
		return nil, fmt.Errorf("read %q: %w", c.Files[file].Path, err)
	}
	return p, nil
}

func (st *store) openPart(ctx context.Context, c *catalog.Content, key partKey) (watcher.Object, []byte, error) {
	f := c.Files[key.file]
	obj, err := st.open(ctx, c, int(key.file))
	if err != nil {
		return nil, nil, err
	}
	local, ok := obj.(watcher.Local)
	if !ok || f.Size < mapLeast {
		return obj, nil, nil
	}
	from := int64(key.part) * partSize
	// A failure to map is no failure to read.
	data, _ := mapFile(local.OSFile(), from, int(min(f.Size-from, partSize)))
	return obj, data, nil
}

func (st *store) unpin(p *part) {
	st.mu.Lock()
	p.refs--
	last := p.refs == 0 && p.gone
	st.mu.Unlock()
	if last {
		p.close()
	}
}

// trim removes the parts used longest ago while there are too many, and
// returns them for closing. st.mu is held.
func (st *store) trim() (surplus []*part) {
	for e := st.order.Back(); e != nil && st.order.Len() > partsMost; {
		p := e.Value.(*part)
		e = e.Prev()
		if p.refs == 0 {
			st.remove(p)
			surplus = append(surplus, p)
		}
	}
	return surplus
}

// remove makes a part unfindable. st.mu is held; the caller closes it if it has no references.
func (st *store) remove(p *part) {
	if !p.gone {
		p.gone = true
		delete(st.parts, p.key)
		st.order.Remove(p.place)
	}
}

// drop removes the parts that match, and closes those that nobody uses.
func (st *store) drop(match func(*part) bool) {
	var closing []*part
	st.mu.Lock()
	for _, p := range st.parts {
		if match(p) {
			st.remove(p)
			if p.refs == 0 {
				closing = append(closing, p)
			}
		}
	}
	st.mu.Unlock()
	for _, p := range closing {
		p.close()
	}
}

// sweep closes what was not used for a while.
func (st *store) sweep() {
	before := time.Now().Add(-partsIdle)
	st.drop(func(p *part) bool { return p.refs == 0 && p.used.Before(before) })
}

// forget closes what belongs to a release, as soon as nobody uses it.
func (st *store) forget(ih infohash.T) { st.drop(func(p *part) bool { return p.key.ih == ih }) }

func (st *store) closeAll() { st.drop(func(*part) bool { return true }) }

func (p *part) close() {
	if p.data != nil {
		unmap(p.data)
	}
	if p.obj != nil {
		p.obj.Close()
	}
}
