package seeder

import (
	"net/netip"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/seeder/offer"
)

// Spread reports whether a release is offered piece by piece (see Mode).
func (s *Seeder) Spread(ih infohash.T) bool {
	s.mu.Lock()
	sw := s.swarm(ih)
	s.mu.Unlock()
	return s.load(sw) == nil && sw.offload.Mode == Spread
}

// Lend reports whether n bytes of a release from off on may be sent to an address
// over HTTP as a first offer, since none of the pieces in them are out yet but
// to peers at that address; these then count as offered until end is called with
// the number of bytes that were sent. Of a piece in part there is no telling
// whether it will ever be whole. All of a release that is not spread may be sent.
func (s *Seeder) Lend(ih infohash.T, off, n int64, to netip.Addr) (end func(sent int64), ok bool) {
	s.mu.Lock()
	sw := s.swarm(ih)
	s.mu.Unlock()
	if err := s.load(sw); err != nil || sw.offload.Mode == Plain || n <= 0 {
		return func(int64) {}, true // what is wrong is found out by whoever sends it
	}
	whole := func(end int64) int { // pieces before end
		if end == sw.content.Size {
			return sw.content.Pieces()
		}
		return int(end / sw.content.PieceLength)
	}
	first, last := int((off+sw.content.PieceLength-1)/sw.content.PieceLength), whole(off+n)-1
	var own []*offer.Peer
	s.mu.Lock()
	sw.mu.Lock()
	defer sw.mu.Unlock()
	for _, p := range sw.from[to] {
		if p.offers != nil {
			own = append(own, p.offers)
		}
	}
	s.mu.Unlock()
	if first > last || !sw.offers.Lend(first, last, time.Now(), to, own...) {
		return nil, false
	}
	s.counts.lent.Add(int64(last - first + 1))
	return func(sent int64) {
		sw.mu.Lock()
		defer sw.mu.Unlock()
		sw.offers.Return(first, whole(off+sent), last, time.Now(), to)
	}, true
}

// Peers are the peers of a release at an address.
type Peers struct {
	Connected int
	Holding   int       // of them, those that have the piece asked about
	Lacking   int       // pieces that the one with the most lacks
	Gained    time.Time // when one of them last gained a piece
	// Quiet: none has asked for anything yet, and three quarters of the pieces are not out.
	Quiet bool
}

// At tells about the peers of a release that are connected from an address, and
// the piece that holds the byte at off.
func (s *Seeder) At(ih infohash.T, addr netip.Addr, off int64) (at Peers) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sw := s.swarms[ih]
	if sw == nil || len(sw.from[addr]) == 0 {
		return at
	}
	sw.mu.Lock()
	defer sw.mu.Unlock()
	for _, p := range sw.from[addr] {
		if p.offers == nil {
			continue
		}
		has, lacks, gained := sw.offers.Peer(p.offers, min(int(off/sw.content.PieceLength), sw.content.Pieces()-1))
		if at.Connected == 0 {
			at.Lacking, at.Quiet = lacks, sw.offers.Missing() > sw.content.Pieces()*3/4
		}
		at.Connected++
		if has {
			at.Holding++
		}
		if gained.After(at.Gained) {
			at.Gained = gained
		}
		at.Lacking = min(at.Lacking, lacks)
		at.Quiet = at.Quiet && !p.requested.Load()
	}
	return at
}
