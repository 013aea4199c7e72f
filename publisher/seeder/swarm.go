package seeder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
	"dropseed/publisher/seeder/offer"
	"dropseed/watcher"
)

// swarm is what the peers of one release share. It exists while there are any.
type swarm struct {
	ih infohash.T
	account

	peers map[*peer]struct{}     // guarded by Seeder.mu, as is the next
	from  map[netip.Addr][]*peer // the same by their addresses
	rate  meter                  // of sent; Seeder.maintain's

	once    sync.Once // makes the fields below, which then never change
	content *catalog.Content
	info    []byte // the info dictionary
	offload Offload
	err     error

	mu     sync.Mutex   // guards the field below; taken after peer.mu
	offers *offer.Swarm // knows in either mode what each peer has

	broken     sync.Once    // its content was found changed
	complained atomic.Int64 // when it was last logged that content cannot be read; Unix time
}

const complainEvery = 60 // seconds

var (
	errRetired = errors.New("the release is not published")
	errFull    = errors.New("the release has all the peers that it may have")
)

// join adds a peer to its swarm, which it brings into being if need be.
func (s *Seeder) join(ctx context.Context, p *peer, ih infohash.T) error {
	if r, ok := s.o.Catalog.Get(ih); !ok || !r.Live() {
		return errRetired
	}
	s.mu.Lock()
	sw := s.swarm(ih)
	if len(sw.peers) >= s.o.Limits.PerRelease {
		evictIdle(maps.Keys(sw.peers))
		s.mu.Unlock()
		return errFull
	}
	p.swarm = sw
	sw.peers[p] = struct{}{}
	sw.from[p.addr.Addr()] = append(sw.from[p.addr.Addr()], p)
	s.peers[p] = struct{}{}
	s.mu.Unlock()

	err := s.load(sw)
	if r, ok := s.o.Catalog.Get(ih); err == nil && (!ok || !r.Live()) {
		err = errRetired // between the look above and joining
	}
	if err != nil {
		s.leave(p)
		return err
	}
	sw.mu.Lock()
	p.offers = sw.offers.Join(time.Now())
	sw.mu.Unlock()
	return nil
}

// peersFor returns peers of p's swarm that p may be told of: those that the
// tracker knows, and those connected here that said where they listen.
func (s *Seeder) peersFor(p *peer) []netip.AddrPort {
	list := s.o.Peers(p.swarm.ih, p.addr, exchangeMost)
	s.mu.Lock()
	defer s.mu.Unlock()
	for q := range p.swarm.peers {
		if len(list) >= exchangeMost {
			break
		}
		q.mu.Lock()
		at := netip.AddrPortFrom(q.addr.Addr(), q.ext.Port)
		q.mu.Unlock()
		if q != p && at.Port() != 0 && s.o.MayTell(p.addr.Addr(), at.Addr()) && !slices.Contains(list, at) {
			list = append(list, at)
		}
	}
	return list
}

// swarm returns a release's swarm, which it brings into being if need be. s.mu
// is held.
func (s *Seeder) swarm(ih infohash.T) *swarm {
	sw := s.swarms[ih]
	if sw == nil {
		sw = &swarm{ih: ih, peers: make(map[*peer]struct{}), from: make(map[netip.Addr][]*peer)}
		s.swarms[ih] = sw
	}
	return sw
}

// load reads what a swarm needs, once. No lock may be held.
func (s *Seeder) load(sw *swarm) error {
	sw.once.Do(func() { sw.err = s.read(sw) })
	return sw.err
}

// leave takes a peer out of its swarm, and the swarm away with its last peer.
func (s *Seeder) leave(p *peer) {
	if p.offers != nil {
		p.swarm.mu.Lock()
		p.swarm.offers.Leave(p.offers)
		if untold := p.sent.Load() - p.got; untold > 0 {
			p.noteGained(untold) // it left before it said so
		}
		p.swarm.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.peers, p)
	delete(p.swarm.peers, p)
	at := p.addr.Addr()
	if p.swarm.from[at] = slices.DeleteFunc(p.swarm.from[at], func(q *peer) bool { return q == p }); len(p.swarm.from[at]) == 0 {
		delete(p.swarm.from, at)
	}
	s.dropIdle(p.swarm)
}

// dropIdle lets go of a swarm without peers and loans. s.mu is held.
func (s *Seeder) dropIdle(sw *swarm) {
	if len(sw.peers) > 0 || s.swarms[sw.ih] != sw {
		return
	}
	sw.mu.Lock()
	lent := sw.offers != nil && sw.offers.Lent()
	sw.mu.Unlock()
	if lent {
		return
	}
	delete(s.swarms, sw.ih)
	if t := sw.account.totals(); t != (Totals{}) {
		s.gone[sw.ih] = t.plus(s.gone[sw.ih])
		s.ended[sw.ih] = true
	}
}

// read gets from disk what a swarm needs.
func (s *Seeder) read(sw *swarm) (err error) {
	if sw.content, err = s.o.Catalog.Content(sw.ih); err != nil {
		return err
	}
	torrent, err := s.o.Catalog.Torrent(sw.ih)
	if err != nil {
		return err
	}
	if sw.info, err = infoOf(torrent); err != nil {
		return fmt.Errorf("read the torrent of %v: %w", sw.ih, err)
	}
	sw.offload = s.o.Offload(sw.content.Source)
	if sw.content.Pieces() == 1 {
		sw.offload.Mode = Plain // there is nothing to spread
	}
	sw.mu.Lock()
	defer sw.mu.Unlock()
	sw.offers = offer.New(offer.Options{
		Pieces: sw.content.Pieces(), PieceLength: sw.content.PieceLength, Help: sw.offload.Help,
		Rand: mathrand.New(mathrand.NewPCG(mathrand.Uint64(), mathrand.Uint64())),
	})
	return nil
}

// contentFailed is called when a block could not be read. A peer whose block that
// is will be closed; all are when the content is not what was hashed.
func (s *Seeder) contentFailed(sw *swarm, err error) {
	r := sw.content.Release
	if !errors.Is(err, watcher.ErrChanged) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EFAULT) {
		if now, last := time.Now().Unix(), sw.complained.Load(); now >= last+complainEvery && sw.complained.CompareAndSwap(last, now) {
			s.o.Log.Warn("content cannot be read; the peer that asked for it is let go", "release", r.Name, "source", r.Source, "err", err)
		}
		return
	}
	sw.broken.Do(func() {
		s.o.Log.Warn("content cannot be sent; its peers are let go", "release", r.Name, "source", r.Source, "err", err)
		s.store.forget(sw.ih)
		if s.o.Changed != nil {
			s.o.Changed(r.Source, r.Name)
		}
		s.mu.Lock()
		peers := slices.Collect(maps.Keys(sw.peers))
		s.mu.Unlock()
		for _, p := range peers {
			p.conn.Close()
		}
	})
}

// reviewOffers takes back offers that make no progress and finds out which
// swarms need help; keepInTouch then makes new ones.
func (s *Seeder) reviewOffers(now time.Time) {
	s.mu.Lock()
	swarms := slices.Collect(maps.Values(s.swarms))
	s.mu.Unlock()
	total := s.counts.sent.Load()
	if s.o.SentElsewhere != nil {
		total += s.o.SentElsewhere()
	}
	s.line.read(total, now)
	for _, sw := range swarms {
		seeds := 0
		if s.o.Seeders != nil {
			seeds = s.o.Seeders(sw.ih)
		}
		sw.mu.Lock()
		if sw.offers != nil {
			sw.offers.Elsewhere(seeds)
			free := s.line.free(sw.rate.read(sw.sent.Load(), now))
			sw.offers.Review(now, free)
			own, _ := sw.offers.Pace()
			s.o.Log.Debug("a swarm's pace", "release", sw.content.Name, "missing", sw.offers.Missing(), "sent", int64(sw.rate.rate), "free", int64(free), "own", int64(own), "helping", sw.offers.Helping())
		}
		sw.mu.Unlock()
		s.mu.Lock()
		s.dropIdle(sw)
		s.mu.Unlock()
	}
}

// dropRetired closes the connections of releases that are no longer live.
func (s *Seeder) dropRetired() {
	s.mu.Lock()
	var gone []*peer
	for ih, sw := range s.swarms {
		if r, ok := s.o.Catalog.Get(ih); !ok || !r.Live() {
			gone = slices.AppendSeq(gone, maps.Keys(sw.peers))
		}
	}
	s.mu.Unlock()
	for _, p := range gone {
		p.conn.Close()
		s.store.forget(p.swarm.ih)
	}
}
