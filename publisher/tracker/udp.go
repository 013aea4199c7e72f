package tracker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/tracker/batch"
)

// Actions of BEP 15, and the sizes of packets in bytes.
const (
	actionConnect  = 0
	actionAnnounce = 1
	actionScrape   = 2
	actionError    = 3

	protocolID = 0x41727101980

	headerSize   = 16 // of every request: connection id, action, transaction id
	announceSize = 98
	replySize    = 20 // of an announce's reply, without peers

	// An answer must not be fragmented: 1500 less IPv4's and UDP's headers;
	// for IPv6, what every link must carry.
	maxReply4 = 1472
	maxReply6 = 1232

	maxUDPScrape = 74 // as many as fit

	// maxPacket is the longest request that is read: longer ones are cut, to
	// a whole number of info-hashes in case of a scrape.
	maxPacket = headerSize + 204*20

	oobSize = 128 // of a packet's control messages
)

// batchSize is how many packets are received with one call. More wait in the socket.
const batchSize = 64

// ServeUDP answers the packets that arrive on conn, an IPv4, IPv6 or
// dual-stack socket, until ctx ends; then it returns nil. It does not close
// conn. Several calls may serve one socket, one per processor at most.
func (t *Tracker) ServeUDP(ctx context.Context, conn *net.UDPConn) error {
	if err := enableReached(conn); err != nil {
		return fmt.Errorf("serve UDP tracker on %s: ask for packets' destinations: %w", conn.LocalAddr(), err)
	}
	packets, err := batch.New(conn, batchSize, batch.Sizes{In: maxPacket, Out: maxReply4, OOB: oobSize})
	if err != nil {
		return fmt.Errorf("serve UDP tracker: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
	w := newUDPWorker(t)
	for failures := 0; ; {
		n, err := packets.Receive()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			// A single packet's trouble must not end the service.
			if failures++; failures > 16 || errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("serve UDP tracker on %s: %w", conn.LocalAddr(), err)
			}
			continue
		}
		failures = 0
		w.lookAtClock()
		for i := range n {
			p, oob := packets.In(i)
			reached, oob := reachedBy(oob, local)
			if reply := w.handle(packets.Out(), p, packets.From(i), reached); reply != nil {
				packets.Reply(i, reply, oob)
			}
		}
		if err := packets.Flush(); err != nil {
			t.opt.Log.Debug("UDP answer not sent", "err", err)
		}
	}
}

// udpWorker answers packets one after the other, without allocating.
type udpWorker struct {
	t       *Tracker
	minute  int64 // now, since 1970
	answer  answer
	scratch scratch
}

func newUDPWorker(t *Tracker) *udpWorker {
	w := &udpWorker{t: t}
	w.lookAtClock()
	return w
}

// lookAtClock takes down what time it is, for a batch of packets.
func (w *udpWorker) lookAtClock() { w.minute = w.t.opt.Now().Unix() / 60 }

// handle appends the answer to a packet to out and returns it, or nil.
func (w *udpWorker) handle(out, p []byte, from netip.AddrPort, reached netip.Addr) []byte {
	if len(p) < headerSize || from.Port() == 0 {
		return nil
	}
	id := binary.BigEndian.Uint64(p)
	action := binary.BigEndian.Uint32(p[8:])
	addr := plain(from.Addr())
	if action == actionConnect {
		if id != protocolID {
			return nil
		}
		out = header(out, actionConnect, p)
		return binary.BigEndian.AppendUint64(out, w.t.conn.make(addr, w.minute, &w.scratch))
	}
	if !w.t.conn.good(id, addr, w.minute, &w.scratch) {
		w.t.counts.failed(overUDP, causeConnection)
		return nil
	}
	switch action {
	case actionAnnounce:
		if len(p) < announceSize {
			w.t.counts.failed(overUDP, causeMalformed)
			return nil
		}
		return w.announce(out, p, addr, plain(reached))
	case actionScrape:
		return w.scrape(out, p)
	}
	return w.refuse(out, p, "unknown action", causeMalformed)
}

// header begins an answer to p.
func header(out []byte, action uint32, p []byte) []byte {
	out = binary.BigEndian.AppendUint32(out, action)
	return append(out, p[12:16]...)
}

func (w *udpWorker) refuse(out, p []byte, reason string, why cause) []byte {
	w.t.counts.failed(overUDP, why)
	return append(header(out, actionError, p), reason...)
}

// announce answers an announce. What follows the first announceSize bytes are
// options (BEP 41): the path and query of the announce URL, of which nothing
// is needed here.
func (w *udpWorker) announce(out, p []byte, addr, reached netip.Addr) []byte {
	r := request{
		hash:    infohash.T(p[16:36]),
		id:      [idSize]byte(p[36:56]),
		seeder:  binary.BigEndian.Uint64(p[64:]) == 0,
		key:     binary.BigEndian.Uint32(p[88:]),
		peer:    netip.AddrPortFrom(addr, binary.BigEndian.Uint16(p[96:])),
		seen:    addr,
		reached: reached,
		want:    w.t.opt.NumWant,

		oneFamily: true,
	}
	if n := binary.BigEndian.Uint32(p[80:]); n <= uint32(eventStopped) {
		r.event = event(n)
	}
	if n := int32(binary.BigEndian.Uint32(p[92:])); n >= 0 {
		r.want = int(n)
	}
	if addr.Is4() {
		r.want = min(r.want, (maxReply4-replySize)/width4)
	} else {
		r.want = min(r.want, (maxReply6-replySize)/width6)
	}
	a := &w.answer
	if refused := w.t.announce(&r, a); refused != nil {
		return w.refuse(out, p, refused.reason, refused.cause)
	}
	w.t.counts.announced(overUDP, addr, r.event)
	out = header(out, actionAnnounce, p)
	out = binary.BigEndian.AppendUint32(out, uint32(seconds(a.interval)))
	out = binary.BigEndian.AppendUint32(out, uint32(a.counts.Leechers))
	out = binary.BigEndian.AppendUint32(out, uint32(a.counts.Seeders))
	for _, s := range a.seeds {
		e := endpointOf(s)
		out = append(out, e.bytes()...)
	}
	return append(out, a.peers.compact...)
}

func (w *udpWorker) scrape(out, p []byte) []byte {
	hashes := p[headerSize:]
	if len(hashes) == 0 || len(hashes)%20 != 0 {
		return w.refuse(out, p, "a scrape must name info-hashes of 20 bytes each", causeMalformed)
	}
	w.t.counts.scrapes[overUDP].Add(1)
	out = header(out, actionScrape, p)
	for i := 0; i < len(hashes) && i < 20*maxUDPScrape; i += 20 {
		c := w.t.Swarm(infohash.T(hashes[i : i+20]))
		out = binary.BigEndian.AppendUint32(out, uint32(c.Seeders))
		out = binary.BigEndian.AppendUint32(out, uint32(c.Completed))
		out = binary.BigEndian.AppendUint32(out, uint32(c.Leechers))
	}
	return out
}
