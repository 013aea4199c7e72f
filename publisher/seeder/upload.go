package seeder

import (
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"syscall"
	"time"

	"dropseed/publisher/peerwire"
	"dropseed/watcher"
)

// Bytes of content that are written at once. A slow peer gets small writes, so
// that it is heard in between and the write's deadline means little progress
// rather than a large write.
const (
	chunkStart = 256 << 10
	chunkLeast = 32 << 10
	chunkMost  = 1 << 20
)

// flush starts sending unless that is under way. p.mu is held.
func (p *peer) flush() {
	if p.flushing || p.ended || len(p.control)+len(p.queue) == 0 {
		return
	}
	p.flushing = true
	p.sending.Go(p.send)
}

// send writes what waits until nothing does.
func (p *peer) send() {
	b := batches.Get().(*batch)
	defer batches.Put(b)
	for {
		control, blocks, ok := p.next(b.blocks[:0])
		b.blocks = blocks
		if !ok {
			return
		}
		if err := p.write(b, control); err != nil {
			// The read loop returns the error that matters: it notices that the connection is closed.
			p.conn.Close()
			return
		}
	}
}

// next takes what to write next. When there is nothing, p is not flushing any
// more when it returns.
func (p *peer) next(blocks []peerwire.Block) (control []byte, _ []peerwire.Block, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	control, p.control = p.control, nil
	n, most := 0, p.chunk
	if n := p.s.o.Chunk; n > 0 {
		most = min(most, n) // so that peers take turns
	}
	for size := 0; n < len(p.queue) && n < batchBlocks; n++ {
		size += int(p.queue[n].Length)
		if n > 0 && size > most {
			break
		}
	}
	blocks = append(blocks, p.queue[:n]...)
	p.queue = p.queue[:copy(p.queue, p.queue[n:])]
	if len(control)+len(blocks) > 0 {
		p.wrote = time.Now()
		return control, blocks, true
	}
	p.flushing = false
	if cap(p.queue) > 64 {
		p.queue = nil
	}
	if p.finishing {
		p.conn.Close()
	}
	return nil, blocks, false
}

// write sends one batch: the control messages, then the blocks in b.
func (p *peer) write(b *batch, control []byte) error {
	size := 0
	for _, block := range b.blocks {
		size += int(block.Length)
	}
	if take := p.s.o.Take; take != nil && size > 0 {
		if err := take(p.ctx, p.swarm.ih, p.addr.Addr(), size); err != nil {
			return err
		}
	}
	defer b.reset(p.s.store)
	start := time.Now()
	p.conn.SetWriteDeadline(start.Add(p.s.o.Limits.Write))
	if p.conn.Encrypted() {
		if err := p.copy(b, control); err != nil {
			return err
		}
		p.prefetch(b)
		if _, err := p.conn.Write(b.copied); err != nil {
			return err
		}
	} else {
		if len(control) > 0 {
			b.bufs = append(b.bufs, control)
		}
		if err := p.gather(b); err != nil {
			return err
		}
		p.prefetch(b)
		bufs := b.bufs // WriteBuffers consumes its argument
		if _, err := p.conn.WriteBuffers(&bufs); err != nil {
			if errors.Is(err, syscall.EFAULT) { // the file was cut below the mapping
				p.s.contentFailed(p.swarm, err)
			}
			return err
		}
	}
	p.sent.Add(int64(size))
	p.swarm.sent.Add(int64(size))
	p.s.counts.sent.Add(int64(size))
	p.noteSent(b.blocks)
	switch took := time.Since(start); {
	case took > time.Second:
		p.chunk = max(p.chunk/2, chunkLeast)
	case took < 200*time.Millisecond:
		p.chunk = min(p.chunk*2, chunkMost)
	}
	return nil
}

// noteSent tells the offers what makes progress, and makes those for which that
// made room.
func (p *peer) noteSent(blocks []peerwire.Block) {
	now := time.Now()
	p.swarm.mu.Lock()
	for i := 0; i < len(blocks); {
		piece, n := blocks[i].Index, int64(0)
		for ; i < len(blocks) && blocks[i].Index == piece; i++ {
			n += int64(blocks[i].Length)
		}
		p.swarm.offers.Sent(p.offers, int(piece), n, now)
	}
	p.swarm.mu.Unlock()
	p.mu.Lock()
	p.offer(now)
	p.mu.Unlock()
}

const batchBlocks = chunkMost / (16 << 10)

// batch is what one write needs; batches are used again.
type batch struct {
	blocks []peerwire.Block
	bufs   net.Buffers
	heads  []byte
	pins   []*part
	copied []byte
}

var batches = sync.Pool{New: func() any {
	return &batch{
		blocks: make([]peerwire.Block, 0, batchBlocks),
		bufs:   make(net.Buffers, 0, 3*batchBlocks),
		heads:  make([]byte, 0, batchBlocks*peerwire.PieceHeaderLen),
	}
}}

func (b *batch) reset(st *store) {
	for _, p := range b.pins {
		st.unpin(p)
	}
	clear(b.pins)
	clear(b.bufs)
	b.pins, b.bufs, b.heads, b.copied = b.pins[:0], b.bufs[:0], b.heads[:0], b.copied[:0]
}

// gather makes the batch's buffers out of the blocks' headers and content.
func (p *peer) gather(b *batch) error {
	for _, block := range b.blocks {
		from := len(b.heads)
		b.heads = peerwire.AppendPieceHeader(b.heads, block) // has room: the buffers before stay valid
		b.bufs = append(b.bufs, b.heads[from:])
		err := p.stretches(b, block, func(q *part, off int64, n int) error {
			if q.data != nil {
				i := int(off % partSize)
				b.bufs = append(b.bufs, q.data[i:i+n])
				return nil
			}
			buf := make([]byte, n)
			b.bufs = append(b.bufs, buf)
			return readAt(q, buf, off)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// copy makes one buffer out of a batch, for an encrypted connection.
func (p *peer) copy(b *batch, control []byte) error {
	b.copied = append(b.copied, control...)
	for _, block := range b.blocks {
		b.copied = peerwire.AppendPieceHeader(b.copied, block)
		err := p.stretches(b, block, func(q *part, off int64, n int) error {
			from := len(b.copied)
			b.copied = append(b.copied, make([]byte, n)...)
			return readAt(q, b.copied[from:], off)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// prefetch has what waits behind a batch fetched while the batch is sent, if its
// content comes from afar.
func (p *peer) prefetch(b *batch) {
	if len(b.pins) == 0 {
		return
	}
	q := b.pins[len(b.pins)-1]
	from, ok := q.obj.(watcher.Prefetcher)
	if !ok {
		return
	}
	c := p.swarm.content
	at, end := c.Offset(int(q.key.file)), c.Offset(int(q.key.file))+c.Files[q.key.file].Size
	p.mu.Lock()
	defer p.mu.Unlock()
	last := uint32(math.MaxUint32)
	for _, block := range p.queue {
		off := int64(block.Index)*c.PieceLength + int64(block.Begin)
		if block.Index != last && off >= at && off < end {
			from.Prefetch(off-at, min(int64(block.Length), end-off))
		}
		last = block.Index
	}
}

// stretches calls f for each part of a file that holds some of a block, in
// order. The parts stay pinned until the batch is reset.
func (p *peer) stretches(b *batch, block peerwire.Block, f func(q *part, off int64, n int) error) error {
	c := p.swarm.content
	at, left := int64(block.Index)*c.PieceLength+int64(block.Begin), int64(block.Length)
	for i := c.At(at); left > 0; i++ {
		for off := at - c.Offset(i); left > 0 && off < c.Files[i].Size; off = at - c.Offset(i) {
			n := min(left, c.Files[i].Size-off, partSize-off%partSize)
			q, err := p.pinned(b, i, off)
			if err == nil {
				err = f(q, off, int(n))
			}
			if err != nil {
				if p.ctx.Err() == nil {
					p.s.contentFailed(p.swarm, err)
				}
				return err
			}
			at, left = at+n, left-n
		}
	}
	return nil
}

// pinned pins the part of a file at off unless the batch has just pinned it.
func (p *peer) pinned(b *batch, file int, off int64) (*part, error) {
	key := partKey{p.swarm.ih, int32(file), int32(off / partSize)}
	for _, q := range b.pins {
		if q.key == key {
			return q, nil
		}
	}
	q, err := p.s.store.pin(p.ctx, p.swarm.content, file, off)
	if err == nil {
		b.pins = append(b.pins, q)
	}
	return q, err
}

func readAt(q *part, buf []byte, off int64) error {
	if n, err := q.obj.ReadAt(buf, off); n < len(buf) {
		return fmt.Errorf("read %d bytes at %d: %w", len(buf), off, err)
	}
	return nil
}
