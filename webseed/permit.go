package webseed

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"dropseed/publisher/catalog"
)

// The times of answers that are held back.
const (
	heldPoll  = 250 * time.Millisecond
	heldPulse = 20 * time.Second // a byte is sent so often: aria2 waits a minute for one
	heldLoans = 64               // pieces that it was lent and has not shown yet
	heldUntil = 16               // the peer lacks one in so many pieces: it shall have that which waits here, too
)

var errPeer = errors.New("the client gets it from peers")

// permit lets an answer pass the gate, part by part.
//
// aria2 gives up a webseed that has turned it away five times, and would have
// nothing to fall back on. So its requests are not refused: it is lent what is
// not out, piece by piece, and the rest of the answer is held back. That keeps a
// single piece from its peers, which is given back when little else is left.
type permit struct {
	gate    *Gate
	request *http.Request
	rel     catalog.Release
	key     clientKey
	free    bool // of everything: nothing is asked

	from, lent int64  // bytes that may be sent since they are lent
	loans      []loan // that have not ended
}

// loan is of bytes that count as offered.
type loan struct {
	off, n int64
	end    func(sent int64)
}

// held reports whether the answer to a request is held back where others are refused.
func held(r *http.Request) bool { return strings.HasPrefix(r.UserAgent(), "aria2/") }

// next is asked before each part of the answer, at off, and returns how many
// bytes of it may be sent. It returns errPeer once a client that is served
// because it was no peer has become one: a request for a whole file need not go
// on to its end. It waits while the answer is held back.
func (p *permit) next(off int64) (n int64, err error) {
	if left := p.from + p.lent - off; left > 0 {
		return min(left, chunkSize), nil
	}
	g := p.gate
	switch {
	case p.free:
		return chunkSize, nil
	case held(p.request):
		return p.release(p.request.Context(), off)
	case !g.exempt(p.key, time.Now()):
		return chunkSize, nil
	}
	if g.swarm.At(p.key.ih, p.key.addr, off).stuck(time.Now()) {
		return chunkSize, nil
	}
	g.note(p.key, func(c *client) { c.exempt = time.Time{} })
	return 0, errPeer
}

// done ends what is lent: of the answer everything before off was sent.
func (p *permit) done(off int64) {
	for _, l := range p.loans {
		if held(p.request) {
			l.end(0) // it drops what its peers have begun to send, and shows what it did not drop
		} else {
			l.end(min(off-l.off, l.n))
		}
	}
	p.loans = nil
}

// release is next for an answer that is held back.
func (p *permit) release(ctx context.Context, off int64) (n int64, err error) {
	g, length := p.gate, p.rel.PieceLength
	piece := min(length-off%length, p.rel.Size-off)
	// All clients that come together ask for the first piece at first, which none
	// of them should reserve.
	var first bool
	g.note(p.key, func(c *client) { first, c.known = !c.known, true })

	poll := time.NewTicker(heldPoll)
	defer poll.Stop()
	for until := time.Now().Add(heldPulse); ; {
		if p.mayBorrow() {
			if end, ok := g.swarm.Lend(p.key.ih, off, piece, p.key.addr); ok {
				p.borrow(off, piece, end)
				return piece, nil
			}
		}
		if g.serves(ctx, p.key, off) {
			return piece, nil
		}
		if peers := g.swarm.At(p.key.ih, p.key.addr, off); first || peers.Lacking <= max(heldUntil, p.rel.Pieces()/heldUntil) {
			return 0, errPeer
		}
		if !time.Now().Before(until) {
			return 1, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-poll.C:
		}
	}
}

func (p *permit) borrow(off, n int64, end func(sent int64)) {
	p.from, p.lent = off, n
	p.loans = append(p.loans, loan{off, n, end})
}

// mayBorrow reports whether the peer has shown enough of what it was lent. Who is
// no peer yet shows nothing.
func (p *permit) mayBorrow() bool {
	connected := false
	p.loans = slices.DeleteFunc(p.loans, func(l loan) bool {
		peers := p.gate.swarm.At(p.key.ih, p.key.addr, l.off)
		connected = peers.Connected > 0
		if peers.Holding > 0 {
			l.end(l.n)
		}
		return peers.Holding > 0
	})
	return len(p.loans) < heldLoans || !connected
}
