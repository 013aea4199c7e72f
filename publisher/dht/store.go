package dht

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/anacrolix/dht/v2/bep44"
	"github.com/anacrolix/dht/v2/krpc"
	peer_store "github.com/anacrolix/dht/v2/peer-store"
	"github.com/anacrolix/torrent/types/infohash"
)

// Bounds of what others announce to us.
const (
	peerLife   = 40 * time.Minute
	peersMost  = 100_000 // in all; the oldest goes
	perHash    = 200
	answerMost = 50 // peers in an answer, which must fit in a packet
)

// peerStore is what other peers have announced to this node.
type peerStore struct {
	ours func(infohash.T) []netip.AddrPort

	mu     sync.Mutex // guards the fields below
	byHash map[infohash.T]map[netip.Addr]*list.Element
	oldest list.List // of stored, the one that was announced first in front
}

type stored struct {
	hash infohash.T
	at   netip.AddrPort
	when time.Time
}

func newPeerStore(ours func(infohash.T) []netip.AddrPort) *peerStore {
	return &peerStore{ours: ours, byHash: make(map[infohash.T]map[netip.Addr]*list.Element)}
}

// AddPeer implements peer_store.Interface. An address has one peer per info-hash.
func (p *peerStore) AddPeer(ih peer_store.InfoHash, na krpc.NodeAddr) {
	addr, ok := netip.AddrFromSlice(na.IP)
	if !ok || na.Port < 1 || na.Port > 65535 {
		return
	}
	at := netip.AddrPortFrom(addr.Unmap(), uint16(na.Port))
	hash := infohash.T(ih)
	p.mu.Lock()
	defer p.mu.Unlock()
	peers := p.byHash[hash]
	if old := peers[at.Addr()]; old != nil {
		p.remove(old)
		peers = p.byHash[hash]
	}
	if len(peers) >= perHash {
		return
	}
	if p.oldest.Len() >= peersMost {
		p.remove(p.oldest.Front())
		peers = p.byHash[hash]
	}
	if peers == nil {
		peers = make(map[netip.Addr]*list.Element)
		p.byHash[hash] = peers
	}
	peers[at.Addr()] = p.oldest.PushBack(&stored{hash, at, time.Now()})
}

// remove forgets a peer. p.mu is held.
func (p *peerStore) remove(e *list.Element) {
	s := p.oldest.Remove(e).(*stored)
	delete(p.byHash[s.hash], s.at.Addr())
	if len(p.byHash[s.hash]) == 0 {
		delete(p.byHash, s.hash)
	}
}

// GetPeers implements peer_store.Interface.
func (p *peerStore) GetPeers(ih peer_store.InfoHash) []krpc.NodeAddr {
	var all []krpc.NodeAddr
	add := func(at netip.AddrPort) {
		all = append(all, krpc.NodeAddr{IP: net.IP(at.Addr().AsSlice()), Port: int(at.Port())})
	}
	for _, at := range p.ours(infohash.T(ih)) {
		add(at)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for e := p.oldest.Front(); e != nil && time.Since(e.Value.(*stored).when) > peerLife; e = p.oldest.Front() {
		p.remove(e)
	}
	for _, e := range p.byHash[infohash.T(ih)] { // in any order
		if len(all) >= answerMost {
			break
		}
		add(e.Value.(*stored).at)
	}
	return all
}

// nothing is a store of arbitrary data (BEP 44) that takes none: it is not what
// this node is for, and it would have to be bounded.
type nothing struct{}

func (nothing) Put(*bep44.Item) error {
	return krpc.Error{Code: krpc.ErrorCodeMethodUnknown, Msg: "not stored here"}
}
func (nothing) Get(bep44.Target) (*bep44.Item, error) { return nil, bep44.ErrItemNotFound }
func (nothing) Del(bep44.Target) error                { return nil }
