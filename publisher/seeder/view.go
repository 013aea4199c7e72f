package seeder

import (
	"cmp"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

const (
	viewParts = 256              // that a release is seen in, at the most
	viewPeers = 200              // that are described, at the most
	viewFresh = time.Second      // a view is not made again within
	viewKept  = 30 * time.Second // without anybody looking
)

// View is who is connected for a release, and who has which part of it. It is
// immutable and shared.
type View struct {
	Pieces int
	Parts  int // that the pieces are put together in, each about equally many; at most 256
	Peers  []PeerView
	// Availability is how many connected peers have each part: the mean over its pieces.
	Availability []float64
	Truncated    bool // there are more peers than these
}

// PeerView is a connection to a peer.
type PeerView struct {
	ID       string  // stable while it lasts; says nothing about the peer
	Client   string  // name and version, as far as it tells; may be anything that can be printed
	Progress float64 // share of the pieces that it has, 0 to 1
	Rate     float64 // bytes of content per second that we send it, over the last seconds that somebody looked
	Parts    []byte  // how much it has of each part: 0 nothing, 255 all
	Addr     netip.AddrPort
}

// view is the last View of a release, and what the next one needs. It exists
// while somebody looks; idle peers have no part in it.
type view struct {
	mu   sync.Mutex // guards the fields below; taken before any other lock
	View View
	at   time.Time       // when it was made
	sent map[*peer]int64 // bytes sent to its peers, then

	asked time.Time // when somebody looked last; guarded by Seeder.mu
}

// View describes the peers that are connected for a release, up to 200 of
// them. It is at most a second old.
func (s *Seeder) View(ih infohash.T) View {
	now := time.Now()
	s.mu.Lock()
	sw, v := s.swarms[ih], s.views[ih]
	if sw == nil {
		delete(s.views, ih)
		s.mu.Unlock()
		return s.emptyView(ih)
	}
	if v == nil {
		v = &view{}
		s.views[ih] = v
	}
	v.asked = now
	s.mu.Unlock()
	if s.load(sw) != nil {
		return s.emptyView(ih)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.at.IsZero() || time.Since(v.at) >= viewFresh {
		s.renew(v, sw)
	}
	return v.View
}

// emptyView is the view of a release without peers.
func (s *Seeder) emptyView(ih infohash.T) View {
	r, _ := s.o.Catalog.Get(ih)
	parts := min(r.Pieces(), viewParts)
	return View{Pieces: r.Pieces(), Parts: parts, Availability: make([]float64, parts)}
}

// renew makes a view again. v.mu is held.
func (s *Seeder) renew(v *view, sw *swarm) {
	pieces := sw.content.Pieces()
	out := View{Pieces: pieces, Parts: min(pieces, viewParts)}
	s.mu.Lock()
	peers := slices.Collect(maps.Keys(sw.peers))
	s.mu.Unlock()
	ids := make(map[*peer]string, len(peers))
	for _, p := range peers {
		ids[p] = p.viewID()
	}
	slices.SortFunc(peers, func(p, q *peer) int { return cmp.Compare(ids[p], ids[q]) })
	if len(peers) > viewPeers {
		peers, out.Truncated = peers[:viewPeers], true
	}

	now := time.Now()
	sent := make(map[*peer]int64, len(peers))
	for _, p := range peers {
		pv := PeerView{ID: ids[p], Addr: p.addr, Parts: make([]byte, out.Parts)}
		sw.mu.Lock() // for each peer anew: others wait for it to send
		joined := p.offers != nil
		if joined {
			pv.Progress = sw.offers.Parts(p.offers, pv.Parts)
		}
		sw.mu.Unlock()
		if !joined {
			continue
		}
		p.mu.Lock()
		pv.Client = p.ext.Client
		p.mu.Unlock()
		pv.Client = clientName(pv.Client, p.hello.PeerID)
		sent[p] = p.sent.Load()
		if before, ok := v.sent[p]; ok {
			pv.Rate = float64(sent[p]-before) / now.Sub(v.at).Seconds()
		}
		out.Peers = append(out.Peers, pv)
	}
	sw.mu.Lock()
	out.Availability = sw.offers.Availability(out.Parts)
	sw.mu.Unlock()
	v.View, v.at, v.sent = out, now, sent
}

// viewKey makes the ids of connections, so that nobody finds out addresses by trying.
var viewKey = func() (k [32]byte) {
	rand.Read(k[:])
	return k
}()

func (p *peer) viewID() string {
	mac := hmac.New(sha256.New, viewKey[:])
	addr := p.addr.Addr().As16()
	mac.Write(p.swarm.ih[:])
	mac.Write(addr[:])
	mac.Write(binary.BigEndian.AppendUint16(nil, p.addr.Port()))
	return hex.EncodeToString(mac.Sum(nil)[:8])
}

// dropViews lets go of views that nobody looks at.
func (s *Seeder) dropViews() {
	before := time.Now().Add(-viewKept)
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.views, func(_ infohash.T, v *view) bool { return v.asked.Before(before) })
}
