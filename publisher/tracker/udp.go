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
)

// ServeUDP answers the packets that arrive on conn, an IPv4, IPv6 or
// dual-stack socket, until ctx ends; then it returns nil. It does not close
// conn. Several calls may serve one socket, one per processor at most.
func (t *Tracker) ServeUDP(ctx context.Context, conn *net.UDPConn) error {
	if err := enableReached(conn); err != nil {
		return fmt.Errorf("serve UDP tracker on %s: ask for packets' destinations: %w", conn.LocalAddr(), err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
	w := udpWorker{t: t}
	for failures := 0; ; {
		n, oobn, _, from, err := conn.ReadMsgUDPAddrPort(w.in[:], w.oob[:])
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
		reached, oob := reachedBy(w.oob[:oobn], local)
		if reply := w.handle(w.in[:n], from, reached); reply != nil {
			if _, _, err := conn.WriteMsgUDPAddrPort(reply, oob, from); err != nil {
				t.opt.Log.Debug("UDP answer not sent", "peer", from, "err", err)
			}
		}
	}
}

// udpWorker answers packets one after the other, without allocating.
type udpWorker struct {
	t       *Tracker
	in      [maxPacket]byte
	out     [maxReply4]byte
	oob     [128]byte
	answer  answer
	scratch scratch
}

// handle returns the answer to a packet, or nil. The answer is good until the
// next call.
func (w *udpWorker) handle(p []byte, from netip.AddrPort, reached netip.Addr) []byte {
	if len(p) < headerSize || from.Port() == 0 {
		return nil
	}
	id := binary.BigEndian.Uint64(p)
	action := binary.BigEndian.Uint32(p[8:])
	addr := plain(from.Addr())
	minute := w.t.opt.Now().Unix() / 60
	if action == actionConnect {
		if id != protocolID {
			return nil
		}
		out := w.header(actionConnect, p)
		return binary.BigEndian.AppendUint64(out, w.t.conn.make(addr, minute, &w.scratch))
	}
	if !w.t.conn.good(id, addr, minute, &w.scratch) {
		w.t.counts.failed(overUDP, causeConnection)
		return nil
	}
	switch action {
	case actionAnnounce:
		if len(p) < announceSize {
			w.t.counts.failed(overUDP, causeMalformed)
			return nil
		}
		return w.announce(p, addr, plain(reached))
	case actionScrape:
		return w.scrape(p)
	}
	return w.error(p, "unknown action", causeMalformed)
}

// header begins an answer to p.
func (w *udpWorker) header(action uint32, p []byte) []byte {
	out := binary.BigEndian.AppendUint32(w.out[:0], action)
	return append(out, p[12:16]...)
}

func (w *udpWorker) error(p []byte, reason string, why cause) []byte {
	w.t.counts.failed(overUDP, why)
	return append(w.header(actionError, p), reason...)
}

// announce answers an announce. What follows the first announceSize bytes are
// options (BEP 41): the path and query of the announce URL, of which nothing
// is needed here.
func (w *udpWorker) announce(p []byte, addr, reached netip.Addr) []byte {
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
		return w.error(p, refused.reason, refused.cause)
	}
	w.t.counts.announced(overUDP, addr, r.event)
	out := w.header(actionAnnounce, p)
	out = binary.BigEndian.AppendUint32(out, uint32(seconds(a.interval)))
	out = binary.BigEndian.AppendUint32(out, uint32(a.counts.Leechers))
	out = binary.BigEndian.AppendUint32(out, uint32(a.counts.Seeders))
	for _, s := range a.seeds {
		e := endpointOf(s)
		out = append(out, e.bytes()...)
	}
	return append(out, a.peers.compact...)
}

func (w *udpWorker) scrape(p []byte) []byte {
	hashes := p[headerSize:]
	if len(hashes) == 0 || len(hashes)%20 != 0 {
		return w.error(p, "a scrape must name info-hashes of 20 bytes each", causeMalformed)
	}
	w.t.counts.scrapes[overUDP].Add(1)
	out := w.header(actionScrape, p)
	for i := 0; i < len(hashes) && i < 20*maxUDPScrape; i += 20 {
		c := w.t.Swarm(infohash.T(hashes[i : i+20]))
		out = binary.BigEndian.AppendUint32(out, uint32(c.Seeders))
		out = binary.BigEndian.AppendUint32(out, uint32(c.Completed))
		out = binary.BigEndian.AppendUint32(out, uint32(c.Leechers))
	}
	return out
}
