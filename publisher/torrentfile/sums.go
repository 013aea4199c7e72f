package torrentfile

import (
	"context"
	"crypto/sha256"
	"sync"
)

// stretches hands out the parts in which content is read, in order. A part must be
// read by whoever takes it: the next one may wait for it. So nobody may take one
// and then wait for a turn that the next one's reader has.
type stretches struct {
	size, each int64

	mu    sync.Mutex // guards the fields below
	taken int64      // bytes
	last  chan struct{}
}

// reading is one part, from start to end.
type reading struct {
	start, end int64
	before     <-chan struct{} // closed when the files in all parts before are summed
	done       chan struct{}
}

func (s *stretches) next() (r reading, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.size {
		return reading{}, false
	}
	r = reading{start: s.taken, end: min(s.taken+s.each, s.size), before: s.last, done: make(chan struct{})}
	s.taken, s.last = r.end, r.done
	return r, true
}

// sumFiles hashes the files in a part of the content that was read into buf, and
// puts the SHA-256 of those that end in it into sums; without sums it does nothing.
// What goes on in another part is hashed in order, one part after the other, while
// the pieces of all parts are hashed at the same time.
func (c *content) sumFiles(ctx context.Context, r reading, buf []byte, sums [][sha256.Size]byte) error {
	defer close(r.done)
	for i := c.first(r.start); sums != nil && i < len(c.files) && c.files[i].start < r.end; i++ {
		f := &c.files[i]
		part := buf[max(f.start, r.start)-r.start : min(f.end, r.end)-r.start]
		begins, ends := f.start >= r.start, f.end <= r.end
		switch {
		case begins && ends:
			sums[f.index] = sha256.Sum256(part)
			continue
		case begins:
			f.sum = sha256.New()
		default:
			select {
			case <-r.before:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		f.sum.Write(part)
		if ends {
			f.sum.Sum(sums[f.index][:0])
			f.sum = nil
		}
	}
	return nil
}

// emptySums are the sums of so many empty files.
func emptySums(n int) [][sha256.Size]byte {
	sums := make([][sha256.Size]byte, n)
	for i := range sums {
		sums[i] = sha256.Sum256(nil)
	}
	return sums
}
