package seeder

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"math/bits"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/anacrolix/torrent/bencode"

	"dropseed/publisher/peerwire"
)

const (
	blockMost    = 128 << 10 // bytes of a block; clients ask for 16 KiB
	controlMost  = 256 << 10 // bytes of other messages that wait for a peer that does not read
	keepAliveAt  = 100 * time.Second
	exchangeAt   = time.Minute // BEP 11: no more than one message a minute
	exchangeMost = 50          // BEP 11: peers in one message
	toldMost     = 200         // peers remembered as told
	evictAfter   = time.Minute // without a request, when another wants the place
)

// peer is one connection. Its read loop owns what is not guarded.
type peer struct {
	s     *Seeder
	ctx   context.Context // ends when all sending must
	swarm *swarm
	conn  *peerwire.Conn
	addr  netip.AddrPort
	hello peerwire.Hello
	have  []uint64 // the pieces that it has
	count int      // of them
	chunk int      // bytes of content to write at once; whoever is sending owns it

	sending sync.WaitGroup

	mu        sync.Mutex          // guards the fields below
	ext       peerwire.Extensions // what it can do
	control   []byte              // messages that wait, in the order of sending, before any block
	queue     []peerwire.Block    // blocks that wait
	flushing  bool                // a goroutine is sending
	finishing bool                // close when all is sent
	ended     bool                // nothing is sent any more
	told      []uint64            // hashes of the addresses that it learned by peer exchange, latest last
	toldAt    time.Time           // when it last did
	wrote     time.Time           // the last thing
	asked     time.Time           // when it last asked for a block
}

var (
	errIsSeed = errors.New("it has everything")
	errFlood  = errors.New("it asks and does not read")
)

// handle speaks with a peer until the connection ends.
func (s *Seeder) handle(ctx context.Context, raw net.Conn, addr netip.AddrPort) error {
	raw.SetDeadline(time.Now().Add(s.o.Limits.Handshake))
	conn, hello, err := peerwire.Accept(raw, s.find)
	if err != nil {
		return err
	}
	if hello.PeerID == s.id {
		return errors.New("it is ourselves")
	}
	raw.SetDeadline(time.Time{})
	now := time.Now()
	p := &peer{s: s, ctx: ctx, conn: conn, addr: addr, hello: hello, asked: now, toldAt: now, chunk: chunkStart}
	if err := s.join(ctx, p, hello.InfoHash); err != nil {
		return err
	}
	defer s.leave(p)
	defer p.end()
	p.greet()
	return p.read()
}

// end closes the connection and waits for what is being sent.
func (p *peer) end() {
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.conn.Close()
	p.sending.Wait()
}

// greet sends our handshake and what we have, in one write. Peers are
// unchoked at once: there is nothing that an upload slot would save.
func (p *peer) greet() {
	c := p.swarm.content
	pieces := c.Pieces()
	p.conn.AllowPieces(pieces)
	p.have = make([]uint64, (pieces+63)/64)
	b := peerwire.Hello{Reserved: peerwire.OurReserved(), InfoHash: p.swarm.ih, PeerID: p.s.id}.Append(nil)
	if p.hello.Reserved.Extended() {
		e := peerwire.Extensions{
			Metadata:     peerwire.ExtMetadata,
			Client:       p.s.o.Client,
			Requests:     p.s.o.Limits.Requests,
			MetadataSize: len(p.swarm.info),
			YourIP:       p.addr.Addr(),
			UploadOnly:   true,
		}
		if p.exchanges() {
			e.PEX = peerwire.ExtPEX
		}
		b = peerwire.AppendExtended(b, peerwire.ExtHandshake, e.Encode())
	}
	if p.hello.Reserved.Fast() {
		b = peerwire.AppendBare(b, peerwire.HaveAll)
	} else {
		b = peerwire.AppendBitfield(b, pieces)
	}
	b = peerwire.AppendBare(b, peerwire.Unchoke)
	if p.hello.Reserved.Fast() {
		for _, piece := range peerwire.AllowedFastSet(p.addr.Addr(), p.swarm.ih, pieces) {
			b = peerwire.AppendIndex(b, peerwire.AllowedFast, piece)
		}
	}
	p.mu.Lock()
	p.control = append(p.control, b...)
	p.flush()
	p.mu.Unlock()
}

// exchanges reports whether peers of this release are told of each other.
func (p *peer) exchanges() bool { return p.s.o.Peers != nil && !p.swarm.content.Private }

// read handles messages until the connection ends. Sending starts when no
// whole message waits, so that all requests that came together go together.
func (p *peer) read() error {
	for {
		if !p.conn.More() {
			p.conn.SetReadDeadline(time.Now().Add(p.s.o.Limits.Idle))
		}
		m, err := p.conn.Next()
		if err != nil {
			return fmt.Errorf("read a message: %w", err)
		}
		p.mu.Lock()
		err = p.receive(m)
		if err == nil && !p.conn.More() {
			p.flush()
		}
		p.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// receive handles one message. p.mu is held.
func (p *peer) receive(m peerwire.Message) error {
	switch m.ID {
	case peerwire.Request:
		return p.request(m.Block)
	case peerwire.Cancel:
		if i := slices.Index(p.queue, m.Block); i >= 0 {
			p.queue = slices.Delete(p.queue, i, i+1)
			return p.reject(m.Block) // BEP 6: every request is answered
		}
	case peerwire.Have:
		return p.gained(m.Block.Index)
	case peerwire.Bitfield:
		return p.bitfield(m.Payload)
	case peerwire.HaveAll:
		return errIsSeed
	case peerwire.Extended:
		return p.extended(m)
	}
	return nil
}

// request queues a block, or rejects it. p.mu is held.
func (p *peer) request(b peerwire.Block) error {
	c := p.swarm.content
	p.asked = time.Now()
	switch {
	case b.Length == 0 || b.Length > blockMost || int64(b.Index) >= int64(c.Pieces()) ||
		int64(b.Begin)+int64(b.Length) > min(c.PieceLength, c.Size-int64(b.Index)*c.PieceLength):
		return fmt.Errorf("it asks for bytes %d+%d of piece %d, which do not exist", b.Begin, b.Length, b.Index)
	case p.finishing || len(p.queue) >= p.s.o.Limits.Requests:
		return p.reject(b)
	}
	p.queue = append(p.queue, b)
	return nil
}

// reject says that a block will not come; a peer without the fast extension
// finds out by itself. p.mu is held.
func (p *peer) reject(b peerwire.Block) error {
	if !p.hello.Reserved.Fast() {
		return nil
	}
	p.control = peerwire.AppendBlock(p.control, peerwire.Reject, b)
	return p.checkControl()
}

func (p *peer) checkControl() error {
	if len(p.control) > controlMost {
		return errFlood
	}
	return nil
}

// gained notes that the peer has a piece.
func (p *peer) gained(index uint32) error {
	if int64(index) >= int64(p.swarm.content.Pieces()) {
		return fmt.Errorf("it has piece %d, which does not exist", index)
	}
	if w, bit := &p.have[index/64], uint64(1)<<(index%64); *w&bit == 0 {
		*w |= bit
		p.count++
	}
	if p.count == p.swarm.content.Pieces() {
		return errIsSeed
	}
	return nil
}

// bitfield notes which pieces the peer has.
func (p *peer) bitfield(b []byte) error {
	pieces := p.swarm.content.Pieces()
	if len(b) != (pieces+7)/8 {
		return fmt.Errorf("its bitfield has %d bytes for %d pieces", len(b), pieces)
	}
	if pieces%8 != 0 && b[len(b)-1]<<(pieces%8) != 0 {
		return errors.New("its bitfield has spare bits set")
	}
	clear(p.have)
	p.count = 0
	for i, v := range b {
		p.have[i/8] |= uint64(bits.Reverse8(v)) << (i % 8 * 8)
		p.count += bits.OnesCount8(v)
	}
	if p.count == pieces {
		return errIsSeed
	}
	return nil
}

// extended handles an extension message. p.mu is held.
func (p *peer) extended(m peerwire.Message) error {
	switch m.Ext {
	case peerwire.ExtHandshake:
		e, err := peerwire.ParseExtensions(m.Payload)
		if err != nil {
			return err
		}
		first := p.ext.PEX == 0
		p.ext = e
		if first && e.PEX != 0 {
			p.toldAt = time.Time{} // there may be somebody to tell it of at once
		}
	case peerwire.ExtMetadata:
		piece, ok, err := peerwire.ParseMetadataRequest(m.Payload)
		if err != nil {
			return err
		}
		if ok && p.ext.Metadata != 0 {
			p.control = peerwire.AppendMetadata(p.control, p.ext.Metadata, p.swarm.info, piece)
			return p.checkControl()
		}
	}
	return nil
}

// keepInTouch sends what is due without having been asked for. It is called
// about once a second.
func (p *peer) keepInTouch(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ext.PEX != 0 && p.exchanges() && now.Sub(p.toldAt) >= exchangeAt {
		p.toldAt = now
		p.mu.Unlock()
		peers := p.s.peersFor(p)
		p.mu.Lock()
		p.tell(peers)
	}
	if !p.flushing && now.Sub(p.wrote) >= keepAliveAt {
		p.control = peerwire.AppendKeepAlive(p.control)
	}
	p.flush()
}

// tell sends what is new of the given peers. Nobody is ever reported as
// dropped: that we know a peer no longer does not mean that it has gone. p.mu
// is held.
func (p *peer) tell(peers []netip.AddrPort) {
	var added []netip.AddrPort
	for _, a := range peers {
		if h := maphash.Comparable(toldSeed, a); !slices.Contains(p.told, h) {
			added = append(added, a)
			p.told = append(p.told, h)
		}
	}
	if n := len(p.told) - toldMost; n > 0 {
		p.told = slices.Delete(p.told, 0, n)
	}
	if len(added) > 0 {
		p.control = peerwire.AppendPEX(p.control, p.ext.PEX, added, nil)
	}
}

var toldSeed = maphash.MakeSeed()

// finish chokes the peer, and closes the connection once what it asked for is sent.
func (p *peer) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finishing = true
	p.control = peerwire.AppendBare(p.control, peerwire.Choke)
	p.flush()
}

// evictIdle closes the connection that has asked for nothing the longest, if
// that is long enough.
func evictIdle(peers iter.Seq[*peer]) {
	var idlest *peer
	since := time.Now().Add(-evictAfter)
	for p := range peers {
		p.mu.Lock()
		if len(p.queue) == 0 && p.asked.Before(since) {
			idlest, since = p, p.asked
		}
		p.mu.Unlock()
	}
	if idlest != nil {
		idlest.conn.Close()
	}
}

// infoOf returns the info dictionary of a .torrent, as it stands there.
func infoOf(torrent []byte) ([]byte, error) {
	var mi struct {
		Info bencode.Bytes `bencode:"info"`
	}
	if err := bencode.Unmarshal(torrent, &mi); err != nil {
		return nil, err
	}
	return mi.Info, nil
}
