package seeder

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anacrolix/torrent/bencode"

	"dropseed/publisher/peerwire"
	"dropseed/publisher/seeder/offer"
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
	s      *Seeder
	ctx    context.Context // ends when all sending must
	swarm  *swarm
	conn   *peerwire.Conn
	addr   netip.AddrPort
	hello  peerwire.Hello
	offers *offer.Peer // what it has and was offered; guarded by swarm.mu
	got    int64       // bytes of the pieces that it says it got; guarded by swarm.mu
	chunk  int         // bytes of content to write at once; whoever is sending owns it

	sending   sync.WaitGroup
	requested atomic.Bool  // it has asked for a block
	sent      atomic.Int64 // bytes of content

	mu        sync.Mutex          // guards the fields below
	ext       peerwire.Extensions // what it can do
	control   []byte              // messages that wait, in the order of sending, before any block
	queue     []peerwire.Block    // blocks that wait
	flushing  bool                // a goroutine is sending
	greeted   bool                // it was answered: other goroutines may send too
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
		s.counts.refused[noHandshake].Add(1)
		return err
	}
	ours := peerwire.Hello{Reserved: s.reserved(), InfoHash: hello.InfoHash, PeerID: s.id}
	return s.converse(ctx, raw, conn, hello, addr, ours.Append(nil), incoming)
}

// reserved is what our handshakes say that we can do.
func (s *Seeder) reserved() peerwire.Reserved {
	if s.o.DHTPort != 0 {
		return peerwire.OurReserved().WithDHT()
	}
	return peerwire.OurReserved()
}

// converse speaks with a peer whose handshake was read; first is what goes
// before all else, and from is who opened the connection.
func (s *Seeder) converse(ctx context.Context, raw net.Conn, conn *peerwire.Conn, hello peerwire.Hello, addr netip.AddrPort, first []byte, from direction) error {
	if hello.PeerID == s.id {
		return errors.New("it is ourselves")
	}
	raw.SetDeadline(time.Time{})
	now := time.Now()
	p := &peer{s: s, ctx: ctx, conn: conn, addr: addr, hello: hello, control: first, asked: now, toldAt: now, chunk: chunkStart}
	if err := s.join(ctx, p, hello.InfoHash); err != nil {
		s.counts.notJoined(err)
		return err
	}
	s.counts.joined[from].Add(1)
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

// greet sends what we are and have, in one write with our handshake. Peers are
// unchoked at once: there is nothing that an upload slot would save.
func (p *peer) greet() {
	c := p.swarm.content
	pieces := c.Pieces()
	p.conn.AllowPieces(pieces)
	var b []byte
	if p.hello.Reserved.Extended() {
		e := peerwire.Extensions{
			Metadata:     peerwire.ExtMetadata,
			Client:       p.s.o.Client,
			Requests:     p.s.o.Limits.Requests,
			MetadataSize: len(p.swarm.info),
			YourIP:       p.addr.Addr(),
			// A client that has all that it was shown leaves a peer that only
			// uploads, so we do not say it while there is more to come.
			UploadOnly: p.swarm.offload.Mode == Plain,
		}
		if p.exchanges() {
			e.PEX = peerwire.ExtPEX
		}
		b = peerwire.AppendExtended(b, peerwire.ExtHandshake, e.Encode())
	}
	switch {
	case p.swarm.offload.Mode == Spread && p.hello.Reserved.Fast():
		b = peerwire.AppendBare(b, peerwire.HaveNone) // offers follow what it has
	case p.swarm.offload.Mode == Spread:
	case p.hello.Reserved.Fast():
		b = peerwire.AppendBare(b, peerwire.HaveAll)
	default:
		b = peerwire.AppendBitfield(b, pieces)
	}
	b = peerwire.AppendBare(b, peerwire.Unchoke)
	if p.s.o.DHTPort != 0 && p.hello.Reserved.DHT() && !c.Private {
		b = peerwire.AppendPort(b, p.s.o.DHTPort)
	}
	if p.swarm.offload.Mode == Plain && p.hello.Reserved.Fast() {
		for _, piece := range peerwire.AllowedFastSet(p.addr.Addr(), p.swarm.ih, pieces) {
			b = peerwire.AppendIndex(b, peerwire.AllowedFast, piece)
		}
	}
	p.mu.Lock()
	p.greeted = true
	p.control = append(p.control, b...)
	if !p.hello.Reserved.Fast() {
		p.offer(time.Now()) // it need not say what it has, if it has nothing
	}
	p.flush()
	p.mu.Unlock()
}

// offer shows the peer the pieces that it may have next. p.mu is held.
func (p *peer) offer(now time.Time) {
	if p.swarm.offload.Mode == Plain {
		return
	}
	p.swarm.mu.Lock()
	defer p.swarm.mu.Unlock()
	for {
		piece, ok := p.swarm.offers.Next(p.offers, now)
		if !ok {
			return
		}
		p.s.counts.offered.Add(1)
		p.control = peerwire.AppendIndex(p.control, peerwire.Have, uint32(piece))
	}
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
		return p.hasAll()
	case peerwire.HaveNone:
		p.offer(time.Now())
	case peerwire.Extended:
		return p.extended(m)
	case peerwire.Port:
		if p.s.o.Node != nil && m.Port != 0 && !p.swarm.content.Private {
			p.s.o.Node(netip.AddrPortFrom(p.addr.Addr(), m.Port))
		}
	}
	return nil
}

// request queues a block, or rejects it. p.mu is held.
func (p *peer) request(b peerwire.Block) error {
	c := p.swarm.content
	p.asked = time.Now()
	p.requested.Store(true)
	switch {
	case b.Length == 0 || b.Length > blockMost || int64(b.Index) >= int64(c.Pieces()) ||
		int64(b.Begin)+int64(b.Length) > min(c.PieceLength, c.Size-int64(b.Index)*c.PieceLength):
		return fmt.Errorf("it asks for bytes %d+%d of piece %d, which do not exist", b.Begin, b.Length, b.Index)
	case p.finishing || len(p.queue) >= p.s.o.Limits.Requests || !p.mayAsk(b.Index):
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

// mayAsk reports whether a piece was offered to the peer.
func (p *peer) mayAsk(piece uint32) bool {
	if p.swarm.offload.Mode == Plain {
		return true
	}
	p.swarm.mu.Lock()
	defer p.swarm.mu.Unlock()
	return p.swarm.offers.MayAsk(p.offers, int(piece))
}

// gained notes that the peer has a piece, and offers it the next. p.mu is held.
func (p *peer) gained(index uint32) error {
	if int64(index) >= int64(p.swarm.content.Pieces()) {
		return fmt.Errorf("it has piece %d, which does not exist", index)
	}
	now := time.Now()
	p.swarm.mu.Lock()
	if p.swarm.offers.Has(p.offers, int(index), now) {
		c := p.swarm.content
		n := min(c.PieceLength, c.Size-int64(index)*c.PieceLength)
		p.got += n
		p.noteGained(n)
	}
	p.swarm.mu.Unlock()
	p.offer(now)
	return p.checkSeed()
}

// noteGained counts what the peer got.
func (p *peer) noteGained(n int64) {
	p.swarm.gained.Add(n)
	p.s.counts.gained.Add(n)
}

// bitfield notes which pieces the peer has. p.mu is held.
func (p *peer) bitfield(b []byte) error {
	pieces := p.swarm.content.Pieces()
	if len(b) != (pieces+7)/8 {
		return fmt.Errorf("its bitfield has %d bytes for %d pieces", len(b), pieces)
	}
	if pieces%8 != 0 && b[len(b)-1]<<(pieces%8) != 0 {
		return errors.New("its bitfield has spare bits set")
	}
	now := time.Now()
	p.swarm.mu.Lock()
	for i := range pieces {
		if b[i/8]&(0x80>>(i%8)) != 0 {
			p.swarm.offers.Has(p.offers, i, now)
		}
	}
	p.swarm.mu.Unlock()
	p.offer(now)
	return p.checkSeed()
}

// hasAll notes that the peer has every piece. p.mu is held.
func (p *peer) hasAll() error {
	now := time.Now()
	p.swarm.mu.Lock()
	for i := range p.swarm.content.Pieces() {
		p.swarm.offers.Has(p.offers, i, now)
	}
	p.swarm.mu.Unlock()
	return p.checkSeed()
}

// checkSeed ends the connection to a peer that has everything, unless it is
// good to know that it is there.
func (p *peer) checkSeed() error {
	if p.swarm.offload.Mode == Spread {
		return nil
	}
	p.swarm.mu.Lock()
	defer p.swarm.mu.Unlock()
	if p.swarm.offers.Complete(p.offers) {
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
	if !p.greeted {
		return
	}
	if p.ext.PEX != 0 && p.exchanges() && now.Sub(p.toldAt) >= exchangeAt {
		p.toldAt = now
		p.mu.Unlock()
		peers := p.s.peersFor(p)
		p.mu.Lock()
		p.tell(peers)
	}
	p.offer(now)
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
