package seeder

import (
	"net/netip"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

// Lend reports whether n bytes of a release from off on may be sent to somebody
// over HTTP as a first offer, as most of their pieces are not out yet; they
// then count as offered. It is true for releases that are not spread.
func (s *Seeder) Lend(ih infohash.T, off, n int64) bool {
	s.mu.Lock()
	sw := s.swarm(ih)
	s.mu.Unlock()
	if err := s.load(sw); err != nil || sw.mode == Plain || n <= 0 {
		return true // what is wrong is found out by whoever sends it
	}
	sw.mu.Lock()
	defer sw.mu.Unlock()
	length := sw.content.PieceLength
	return sw.offers.Lend(int(off/length), int((off+n-1)/length), time.Now())
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
