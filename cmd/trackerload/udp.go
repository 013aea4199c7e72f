//go:build linux

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"dropseed/publisher/tracker/batch"
)

const (
	window     = 128             // questions of a socket that wait for an answer
	answerWait = 2 * time.Second // then a question or its answer is lost
	maxAnswer  = 4096            // bytes
	maxAsked   = 256             // bytes
)

// Actions of BEP 15.
const (
	actionConnect  = 0
	actionAnnounce = 1
	actionScrape   = 2
	actionError    = 3

	protocolID = 0x41727101980
)

// Events of BEP 15.
const (
	eventNone    = 0
	eventStarted = 2
	eventStopped = 3
)

// udpClient is many peers that share a socket. Each packet leaves from its own
// peer's address, and each peer connects before it announces itself, since a
// connection id is good for a minute or two and the next announce is half an hour
// away.
type udpClient struct {
	s     *swarms
	conn  *net.UDPConn
	batch *batch.Conn
	tally tally

	asked   [window]question
	packets [window][maxAsked]byte
	sources [window][]byte // control messages: from which address a packet leaves
	free    []int          // indices of asked that wait for nothing
	ready   []question     // whose peer has just got its connection id
}

// question is what an answer is checked against.
type question struct {
	action, event uint32
	member        member
	hashes        int    // of a scrape
	id            uint64 // the connection id; 0: none yet
}

func dialUDP(ctx context.Context, s *swarms, sv *server) (*udpClient, error) {
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return nil, err
	}
	conn.SetReadBuffer(4 << 20)
	b, err := batch.New(conn, window, batch.Sizes{In: maxAnswer})
	if err != nil {
		return nil, err
	}
	b.Dial(sv.addr)
	u := &udpClient{s: s, conn: conn, batch: b}
	for i := range window {
		u.free = append(u.free, i)
		u.sources[i] = make([]byte, unix.CmsgSpace(unix.SizeofInet4Pktinfo))
		h := (*unix.Cmsghdr)(unsafe.Pointer(&u.sources[i][0]))
		h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		h.SetLen(unix.CmsgLen(unix.SizeofInet4Pktinfo))
	}
	return u, nil
}

// run asks what next says until there is no more of it, or ctx ends.
func (u *udpClient) run(ctx context.Context, next func() (question, bool)) error {
	for more := true; ; {
		for len(u.free) > 0 && (more || len(u.ready) > 0) {
			if n := len(u.ready); n > 0 {
				u.ask(u.ready[n-1])
				u.ready = u.ready[:n-1]
				continue
			}
			var q question
			if q, more = next(); more {
				u.ask(q)
			}
		}
		if err := u.batch.Flush(); err != nil {
			return err
		}
		if ctx.Err() != nil || !more && len(u.free) == window {
			return nil
		}
		u.conn.SetReadDeadline(time.Now().Add(answerWait))
		n, err := u.batch.Receive()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			u.tally.lost += int64(window - len(u.free))
			u.free = u.free[:0]
			for i := range window {
				u.free = append(u.free, i)
			}
			continue
		}
		if err != nil {
			return err
		}
		for i := range n {
			p, _ := u.batch.In(i)
			u.answer(p)
		}
	}
}

func (u *udpClient) ask(q question) {
	slot := u.free[len(u.free)-1]
	u.free = u.free[:len(u.free)-1]
	u.asked[slot] = q
	address := q.member.address()
	copy(u.sources[slot][unix.CmsgLen(0)+4:], address[:]) // struct in_pktinfo: interface, local address
	u.batch.Queue(u.packet(u.packets[slot][:0], uint32(slot), q), u.sources[slot])
}

// packet appends a question. Its transaction id is its place in u.asked.
func (u *udpClient) packet(p []byte, slot uint32, q question) []byte {
	head := func(id uint64, action uint32) {
		p = binary.BigEndian.AppendUint64(p, id)
		p = binary.BigEndian.AppendUint32(p, action)
		p = binary.BigEndian.AppendUint32(p, slot)
	}
	if q.id == 0 {
		head(protocolID, actionConnect)
		return p
	}
	head(q.id, q.action)
	if q.action == actionScrape {
		for i := range q.hashes {
			p = append(p, u.s.hashes[(q.member.swarm+i)%len(u.s.hashes)][:]...)
		}
		return p
	}
	m := q.member
	id, left := m.id(), uint64(1<<30)
	if m.seeder() {
		left = 0
	}
	p = append(p, u.s.hashes[m.swarm][:]...)
	p = append(p, id[:]...)
	p = binary.BigEndian.AppendUint64(p, 0)
	p = binary.BigEndian.AppendUint64(p, left)
	p = binary.BigEndian.AppendUint64(p, 0)
	p = binary.BigEndian.AppendUint32(p, q.event)
	p = binary.BigEndian.AppendUint32(p, 0)
	p = binary.BigEndian.AppendUint32(p, uint32(m.index))
	p = binary.BigEndian.AppendUint32(p, wanted)
	return binary.BigEndian.AppendUint16(p, m.port())
}

// answer counts an answer, and whether it is right.
func (u *udpClient) answer(p []byte) {
	if len(p) < 8 || binary.BigEndian.Uint32(p[4:]) >= window {
		u.tally.wrong("an answer to no question")
		return
	}
	slot := int(binary.BigEndian.Uint32(p[4:]))
	q := u.asked[slot]
	u.free = append(u.free, slot)
	u.tally.answers++
	want := q.action
	if q.id == 0 {
		want = actionConnect
	}
	if action := binary.BigEndian.Uint32(p); action != want {
		if action == actionError {
			u.tally.wrong("an error: " + string(p[8:]))
			return
		}
		u.tally.wrong(fmt.Sprintf("action %d in answer to %d", action, want))
		return
	}
	switch want {
	case actionConnect:
		if len(p) != 16 {
			u.tally.wrong(fmt.Sprintf("a connect of %d bytes", len(p)))
			return
		}
		q.id = binary.BigEndian.Uint64(p[8:])
		u.ready = append(u.ready, q)
	case actionScrape:
		if len(p) != 8+12*q.hashes {
			u.tally.wrong(fmt.Sprintf("a scrape of %d info-hashes has %d bytes", q.hashes, len(p)))
		}
	default:
		if len(p) < 20 || (len(p)-20)%6 != 0 {
			u.tally.wrong(fmt.Sprintf("an announce of %d bytes", len(p)))
			return
		}
		u.tally.checkPeers(q, p[20:], int(binary.BigEndian.Uint32(p[12:])+binary.BigEndian.Uint32(p[16:])))
	}
}

// mixed is what peers ask: mostly to announce themselves again, now and then to begin,
// to end, or to scrape.
func (u *udpClient) mixed() (question, bool) {
	q := question{action: actionAnnounce, member: u.s.random()}
	switch n := rand.IntN(100); {
	case n < 6:
		q.action, q.hashes = actionScrape, 1+rand.IntN(5)
	case n < 8:
		q.event = eventStopped
	case n < 12:
		q.event = eventStarted
	}
	return q, true
}

func (u *udpClient) load(ctx context.Context) error { return u.run(ctx, u.mixed) }
func (u *udpClient) counted() *tally                { return &u.tally }
func (u *udpClient) close()                         { u.conn.Close() }

// fill announces every of-th peer once, from the first-th on.
func (u *udpClient) fill(ctx context.Context, first, of int) error {
	i := first - of
	return u.run(ctx, func() (question, bool) {
		i += of
		if i >= u.s.peers() {
			return question{}, false
		}
		return question{action: actionAnnounce, member: u.s.member(i), event: eventStarted}, true
	})
}
