package seeder

import (
	"net/netip"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

// Lend reports whether n bytes of a release from off on may be sent to somebody
// over HTTP as a first offer, since none of the pieces in them are out yet; these
// then count as offered until end is called with the number of bytes that were
// sent. Of a piece in part there is no telling whether it will ever be whole.
// All of a release that is not spread may be sent.
func (s *Seeder) Lend(ih infohash.T, off, n int64) (end func(sent int64), ok bool) {
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
	sw.mu.Lock()
	defer sw.mu.Unlock()
	if first > last || !sw.offers.Lend(first, last, time.Now()) {
		return nil, false
	}
	return func(sent int64) {
		sw.mu.Lock()
		defer sw.mu.Unlock()
		sw.offers.Return(first, whole(off+sent), last, time.Now())
	}, true
}

// At tells about the peers of a release that are connected from an address:
// how many there are, how many of them have the piece that holds the byte at
// off, and when one of them last gained a piece.
func (s *Seeder) At(ih infohash.T, addr netip.Addr, off int64) (peers, holding int, gained time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sw := s.swarms[ih]
	if sw == nil {
		return 0, 0, time.Time{}
	}
	sw.mu.Lock()
	defer sw.mu.Unlock()
	for p := range sw.peers {
		if p.addr.Addr() != addr || p.offers == nil {
			continue
		}
		has, at := sw.offers.Peer(p.offers, int(off/sw.content.PieceLength))
		peers++
		if has {
			holding++
		}
		if at.After(gained) {
			gained = at
		}
	}
	return peers, holding, gained
}
