package tracker

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

// webOfferLife is how long an offer may be answered.
const webOfferLife = 2 * time.Minute

// webStore is the swarms of peers that come over WebSocket. They speak WebRTC, so
// they are never told of others, nor others of them; only counts are shared.
type webStore struct {
	running context.Context // ends with the tracker's Run, and with it all sockets
	stop    context.CancelFunc
	sockets atomic.Int64

	mu     sync.Mutex // guards the field below and what is in it
	swarms map[infohash.T]*webSwarm
}

type webSwarm struct {
	peers     []*webPeer // in any order
	byID      map[webID]*webPeer
	seeders   int
	completed int
}

// webPeer is a socket's part in a swarm.
type webPeer struct {
	id      webID
	socket  *webSocket
	place   int // in webSwarm.peers
	seeder  bool
	counted bool             // its download was
	offers  []webOutstanding // oldest first
}

// webOutstanding is an offer that was passed on and may be answered.
type webOutstanding struct {
	id, to webID
	until  time.Time
}

var (
	refusedWebID    = &refusal{"another connection has this peer_id", retryUnsaid, causePeerID}
	refusedWebMany  = &refusal{"too many torrents on one connection", retryUnsaid, causeMany}
	refusedWebOther = &refusal{"a connection has one peer_id for each torrent", retryUnsaid, causePeerID}
)

func newWebStore() *webStore {
	st := &webStore{swarms: make(map[infohash.T]*webSwarm)}
	st.running, st.stop = context.WithCancel(context.Background())
	return st
}

// enter counts a socket, if there is room for it.
func (st *webStore) enter() bool {
	if st.sockets.Add(1) > webSockets || st.running.Err() != nil {
		st.sockets.Add(-1)
		return false
	}
	return true
}

func (st *webStore) leave() { st.sockets.Add(-1) }

// close takes a socket out of all its swarms.
func (st *webStore) close(s *webSocket) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for ih, p := range s.joined {
		st.remove(ih, p)
	}
}

// remove takes a peer out. st.mu is held.
func (st *webStore) remove(ih infohash.T, p *webPeer) {
	sw := st.swarms[ih]
	if sw == nil || sw.byID[p.id] != p {
		return
	}
	last := len(sw.peers) - 1
	sw.peers[p.place] = sw.peers[last]
	sw.peers[p.place].place = p.place
	sw.peers[last] = nil
	sw.peers = sw.peers[:last]
	delete(sw.byID, p.id)
	if p.seeder {
		sw.seeders--
	}
	if len(sw.peers) == 0 && sw.completed == 0 {
		delete(st.swarms, ih)
	}
}

// announce records a peer and returns it; nil if it has stopped.
func (st *webStore) announce(s *webSocket, ih infohash.T, m *webIn) (*webPeer, *refusal) {
	st.mu.Lock()
	defer st.mu.Unlock()
	p := s.joined[ih]
	if p != nil && p.id != m.PeerID {
		return nil, refusedWebOther
	}
	if m.Event == "stopped" {
		if p != nil {
			st.remove(ih, p)
			delete(s.joined, ih)
		}
		return nil, nil
	}
	sw := st.swarms[ih]
	if sw == nil {
		sw = &webSwarm{byID: make(map[webID]*webPeer)}
		st.swarms[ih] = sw
	}
	if p == nil || sw.byID[p.id] != p { // the swarm may have been dropped meanwhile
		switch {
		case sw.byID[m.PeerID] != nil: // it must not be taken over
			return nil, refusedWebID
		case len(s.joined) >= webSwarms:
			return nil, refusedWebMany
		}
		p = &webPeer{id: m.PeerID, socket: s, place: len(sw.peers)}
		sw.peers = append(sw.peers, p)
		sw.byID[p.id] = p
		s.joined[ih] = p
	}
	was := p.seeder
	p.seeder = m.Left != nil && *m.Left == 0
	switch {
	case p.seeder && !was:
		sw.seeders++
	case was && !p.seeder:
		sw.seeders--
	}
	if m.Event == "completed" && p.seeder && !p.counted {
		p.counted = true
		sw.completed++
	}
	return p, nil
}

// offer passes each offer on to another random peer of the swarm; to leechers only
// if a seeder offers.
func (st *webStore) offer(from *webPeer, ih infohash.T, m *webIn, now time.Time) {
	if m.Event == "completed" {
		return
	}
	offers := m.Offers[:min(len(m.Offers), webOffers)]
	if m.NumWant != nil {
		offers = offers[:max(0, min(len(offers), int(min(*m.NumWant, webOffers))))]
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	sw := st.swarms[ih]
	if sw == nil || len(offers) == 0 {
		return
	}
	for len(from.offers) > 0 && (from.offers[0].until.Before(now) || len(from.offers) > 4*webOffers) {
		from.offers = from.offers[1:]
	}
	at := rand.IntN(len(sw.peers))
	for range sw.peers {
		if len(offers) == 0 {
			return
		}
		to := sw.peers[at]
		at = (at + 1) % len(sw.peers)
		if to == from || from.seeder && to.seeder {
			continue
		}
		o := offers[0]
		offers = offers[1:]
		from.offers = append(from.offers, webOutstanding{o.OfferID, to.id, now.Add(webOfferLife)})
		to.socket.send(webForward{"announce", m.InfoHash[0], from.id, o.OfferID, &o.Offer, nil})
	}
}

// answer passes an answer on to whoever made the offer, if that was passed on to
// the one who answers.
func (st *webStore) answer(s *webSocket, ih infohash.T, m *webIn) {
	st.mu.Lock()
	defer st.mu.Unlock()
	sw, from := st.swarms[ih], s.joined[ih]
	if sw == nil || from == nil || from.id != m.PeerID {
		return
	}
	to := sw.byID[m.ToPeerID]
	if to == nil {
		return
	}
	for i, o := range to.offers {
		if o.id == m.OfferID && o.to == from.id {
			to.offers = append(to.offers[:i:i], to.offers[i+1:]...)
			to.socket.send(webForward{"announce", m.InfoHash[0], from.id, o.id, nil, m.Answer})
			return
		}
	}
}

// counts are the figures of a swarm's peers that came over WebSocket.
func (st *webStore) counts(ih infohash.T) Counts {
	st.mu.Lock()
	defer st.mu.Unlock()
	sw := st.swarms[ih]
	if sw == nil {
		return Counts{}
	}
	leechers := len(sw.peers) - sw.seeders
	return Counts{Seeders: sw.seeders, Leechers: leechers, Downloaders: leechers, Completed: sw.completed}
}

// expire drops the swarms that are not tracked any more. Sockets stay.
func (st *webStore) expire(tracked func(infohash.T) bool) {
	st.mu.Lock()
	hashes := make([]infohash.T, 0, len(st.swarms))
	for ih := range st.swarms {
		hashes = append(hashes, ih)
	}
	st.mu.Unlock()
	for _, ih := range hashes {
		if !tracked(ih) {
			st.mu.Lock()
			delete(st.swarms, ih)
			st.mu.Unlock()
		}
	}
}
