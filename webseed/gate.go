package webseed

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
)

// Swarm is what the gate asks of the seeder. All methods are safe for
// concurrent use.
type Swarm interface {
	// Spread reports whether a release is offered piece by piece. All else may be
	// sent to everybody.
	Spread(ih infohash.T) bool
	// Lend reports whether the pieces in n bytes from off on are not out yet, unless
	// to peers at the address that asks, and then counts them as offered until end
	// is told how many bytes were sent.
	Lend(ih infohash.T, off, n int64, to netip.Addr) (end func(sent int64), ok bool)
	// At tells about the peers connected from an address, and the piece that
	// holds the byte at off.
	At(ih infohash.T, addr netip.Addr, off int64) Peers
}

// Peers are the peers of a release at an address.
type Peers struct {
	Connected int
	Holding   int       // of them, those that have the piece asked about
	Lacking   int       // pieces that the one with the most lacks
	Gained    time.Time // when one of them last gained a piece
	// Quiet: none has asked for anything over BitTorrent yet, and three quarters of
	// the pieces are not out.
	Quiet bool
}

// stuck reports whether none of the peers makes progress, or there are none.
func (p Peers) stuck(now time.Time) bool {
	return p.Connected == 0 || now.Sub(p.Gained) > gainsWithin
}

// The times of the gate, and the bounds of what it keeps.
const (
	lendMost     = 2 << 20                // bytes of a request that may be a first offer, or one piece
	peerWithin   = 3 * time.Second        // a BitTorrent client shows itself as a peer so soon ...
	announcedIn  = 10 * time.Second       // ... or so soon, if it has announced itself to the tracker
	announcedFor = time.Minute            // an announce says that somebody comes
	peerPoll     = 100 * time.Millisecond // while waiting for that
	refusedMost  = 25 * time.Second       // in a row: less than the half minute after which libtorrent comes again
	confirmedFor = 5 * time.Minute        // ... and for a client whose peer was seen to get what it was sent here
	gainsWithin  = 15 * time.Second       // a peer that makes progress
	quietRow     = 2                      // requests of a quiet peer's client that are refused in a row: Transmission gives up for minutes after four, and makes four at once
	exemptFor    = time.Minute            // a client that is no peer, since its last request
	clientsMost  = 100_000                // remembered
)

// Gate keeps the webseed a fallback: clients that get a release over
// BitTorrent are turned away from it, so that they trade pieces rather than
// all fetching the same ones from here. It is the webseed's part of the
// seeder's offers: what is not out yet is served to whoever asks first.
//
// Turned away is a client from whose address a peer is connected that makes
// progress, unless it asks for what that peer has: then it is another machine
// behind the same address. Nobody is turned away for long: after refusedMost
// one request is served; a client whose peer has those pieces soon after is
// the peer's, and is then turned away for longer. What else is done for certain
// clients is in afterRow, refuse and permit.
type Gate struct {
	swarm   Swarm
	addr    func(*http.Request) netip.Addr
	decided [decisions]atomic.Int64 // requests, since the start

	mu      sync.Mutex // guards the field below
	clients map[clientKey]*client
}

type clientKey struct {
	ih   infohash.T
	addr netip.Addr
}

// client is what is remembered of an address; guarded by Gate.mu.
type client struct {
	known     bool      // it has asked before, see permit.release
	announced time.Time // when it last told the tracker of itself
	exempt    time.Time // served without question until then
	refused   time.Time // since when, in a row; zero: not
	row       int       // of them, those of a quiet peer
	tested    int64     // where the request began that was served to find out; -1: none
	confirmed time.Time // it is a peer's: until then
	used      time.Time
}

// NewGate returns a Gate. addr returns where a request came from, proxies of
// our own aside; a request for which it returns no address is served.
func NewGate(swarm Swarm, addr func(*http.Request) netip.Addr) *Gate {
	return &Gate{swarm: swarm, addr: addr, clients: make(map[clientKey]*client)}
}

// admit returns the answer to a request for n of a release's bytes from off on;
// ok is false if there is to be none. It may wait, see peerWithin.
func (g *Gate) admit(r *http.Request, rel catalog.Release, off, n int64) (_ *permit, ok bool) {
	p := &permit{gate: g, request: r, rel: rel, key: clientKey{rel.InfoHash, g.addr(r)}}
	if p.free = !p.key.addr.IsValid() || !g.swarm.Spread(rel.InfoHash); p.free {
		g.decided[free].Add(1)
		return p, true
	}
	if n <= max(lendMost, rel.PieceLength) {
		if end, ok := g.swarm.Lend(rel.InfoHash, off, n, p.key.addr); ok {
			g.decided[lent].Add(1)
			p.borrow(off, n, end)
			g.note(p.key, func(c *client) { c.row = 0 })
			return p, true
		}
	}
	made := turnedAway
	switch {
	case held(r):
		made = heldBack
	case g.serves(r.Context(), p.key, off):
		made = passed
	}
	g.decided[made].Add(1)
	return p, made != turnedAway
}

// Announced tells that a client has announced itself to the tracker: it is, or
// soon becomes, a peer.
func (g *Gate) Announced(ih infohash.T, addr netip.Addr) {
	g.note(clientKey{ih, addr}, func(c *client) { c.announced = time.Now() })
}

// serves reports whether a client is served what others may have by now.
func (g *Gate) serves(ctx context.Context, key clientKey, off int64) bool {
	if !g.isPeer(key, off) && (g.exempt(key, time.Now()) || !g.becomesPeer(ctx, key, off)) {
		g.note(key, func(c *client) { c.exempt = time.Now().Add(exemptFor) })
		return true
	}
	peers, now := g.swarm.At(key.ih, key.addr, off), time.Now()
	if peers.stuck(now) || peers.Holding == peers.Connected {
		g.note(key, func(c *client) { c.refused = time.Time{} })
		return true
	}
	if peers.Quiet && g.afterRow(key) {
		return true
	}
	return g.afterRefusals(key, off, now)
}

func (g *Gate) isPeer(key clientKey, off int64) bool {
	return g.swarm.At(key.ih, key.addr, off).Connected > 0
}

// exempt reports whether a client was found to be no peer lately.
func (g *Gate) exempt(key clientKey, now time.Time) (is bool) {
	g.note(key, func(c *client) { is = now.Before(c.exempt) })
	return is
}

// becomesPeer waits until the client is a peer.
func (g *Gate) becomesPeer(ctx context.Context, key clientKey, off int64) bool {
	within := peerWithin
	g.note(key, func(c *client) {
		if time.Since(c.announced) < announcedFor {
			within = announcedIn
		}
	})
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	poll := time.NewTicker(peerPoll)
	defer poll.Stop()
	for {
		if g.isPeer(key, off) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-poll.C:
		}
	}
}

// afterRow serves the client of a quiet peer once some of its requests were
// refused in a row. Transmission asks its peers for nothing for up to ten seconds;
// until then it gets what is not out from here, unless it has given up.
func (g *Gate) afterRow(key clientKey) (serve bool) {
	g.note(key, func(c *client) {
		if c.row++; c.row > quietRow {
			c.row, serve = 0, true
		}
	})
	return serve
}

// afterRefusals serves a peer's client that was refused for long enough.
func (g *Gate) afterRefusals(key clientKey, off int64, now time.Time) (serve bool) {
	g.note(key, func(c *client) {
		if c.tested >= 0 {
			if g.swarm.At(key.ih, key.addr, c.tested).Holding > 0 {
				c.confirmed = now.Add(confirmedFor)
			}
			c.tested = -1
		}
		if c.refused.IsZero() {
			c.refused = now
		}
		most := refusedMost
		if now.Before(c.confirmed) {
			most = confirmedFor
		}
		if serve = now.Sub(c.refused) >= most; serve {
			c.refused, c.tested = time.Time{}, off
		}
	})
	return serve
}

// note looks a client up and lets f see or change it.
func (g *Gate) note(key clientKey, f func(*client)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.clients[key]
	if c == nil {
		if len(g.clients) >= clientsMost {
			g.forget()
		}
		c = &client{tested: -1}
		g.clients[key] = c
	}
	c.used = time.Now()
	f(c)
}

// forget drops the clients that have not asked for a while, or, if all have,
// a tenth of them. g.mu is held.
func (g *Gate) forget() {
	before, n := time.Now().Add(-confirmedFor), 0
	for key, c := range g.clients {
		if c.used.Before(before) || n < clientsMost/10 {
			delete(g.clients, key)
			n++
		}
	}
}

// requested returns the part of a file of the given size that a request asks
// for: of several ranges the first, and all of it if it cannot be told.
func requested(r *http.Request, size int64) (off, n int64) {
	spec, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes=")
	if !ok {
		return 0, size
	}
	spec, _, _ = strings.Cut(spec, ",")
	first, last, _ := strings.Cut(strings.TrimSpace(spec), "-")
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil || from < 0 || from >= size {
		return 0, size
	}
	to, err := strconv.ParseInt(last, 10, 64)
	if err != nil || to >= size || to < from {
		to = size - 1
	}
	return from, to - from + 1
}
