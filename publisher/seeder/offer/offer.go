// Package offer decides which piece a seeder offers to which peer, so that a
// swarm gets all of a release while its origin sends about one copy.
//
// A client asks for everything that it sees at once, so an ordinary seed sends
// the same pieces to many. A [Swarm] shows each peer little (BEP 16,
// super-seeding): every peer has a window of pieces that were offered to it and
// not yet sent whole; one that was makes room for the next. Pieces that
// nobody has or is fetching come first, and the peers take turns in getting
// them (turns.go). While there are none, a peer gets nothing more from here
// (the others have what it lacks), unless all of them are slow to send and it is
// worth helping (help.go), or it starves: then, whatever the reason, it is
// offered the rarest of what it lacks, until the others feed it. An offer that
// makes no progress is taken back.
//
// The window grows as long as offers are fetched soon after they were made, so
// it holds a second or two of the peer's line, however fast it is and however
// slowly the client reacts. It does not wait for the HAVE, which aria2
// holds back for up to ten seconds; but a peer that never confirms is not
// given much.
//
// The package is the policy alone: it has no clock, no connection and no lock.
// Whoever owns a Swarm serialises the calls and passes the time.
package offer

import (
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// Times and sizes of the policy. They were found by measuring; see the README.
const (
	windowStart = 1 << 20 // bytes that a new peer is offered
	windowMost  = 1 << 30 // bytes
	leastPieces = 4       // in a window, unless there are more peers than the line can keep busy
	windowsTime = 20      // seconds of the line in all windows together ...
	windowsMost = 512     // ... or so many pieces, while the line is not known
	unconfirmed = 16      // windows' worth of pieces that were sent whole and not confirmed

	fetchedSoon  = 1500 * time.Millisecond // an offer fetched sooner makes the window grow
	fetchedLate  = 4 * time.Second         // an offer fetched later makes it shrink
	stalledAfter = 15 * time.Second        // without a byte sent to its peer: an offer is void; Transmission may wait for ten before it asks
	queuedAtMost = time.Minute             // ... and so is one that waits so long behind others of its peer
	starvesAfter = 5 * time.Second         // without a new piece: a peer with nothing offered starves ...
	fedAgain     = 10 * time.Second        // ... but not yet one that others have fed: some clients take breaks of ten seconds
	fedSoon      = 3 * time.Second         // ... unless it has never taken a break as long as a third of the time
	loanedFor    = time.Minute             // what a webseed sends counts as being fetched, at the most ...
	shownIn      = 20 * time.Second        // ... and so long after it was sent: Transmission tells nobody before it has asked
	rarestOf     = 32                      // pieces looked at for the rarest
)

// Swarm is the state of one release's offers: about 4 bytes per piece, and a
// bit per piece and peer.
type Swarm struct {
	Options
	pace
	turns

	holders  []uint16 // of each piece: peers that have it
	fetching []uint16 // of each piece: offers that stand
	absent   bitset   // pieces without either
	scarce   bitset   // pieces that few peers have, see turns
	missing  int      // number of pieces in absent
	most     int      // pieces in any window, as the line has it, ...
	known    bool     // ... once that is known
	lacking  int      // number of pieces that the peers lack, together
	seeds    int      // peers elsewhere that have everything, as far as is known
	peers    map[*Peer]struct{}
	loans    map[int][]loan // by piece
}

// loan is a piece that a webseed has sent to somebody who may not be a peer.
type loan struct {
	to    netip.Addr
	until time.Time
}

// Peer is a peer's part of a Swarm.
type Peer struct {
	have    bitset
	count   int           // pieces in have
	offers  []offer       // that stand, oldest first
	open    int           // of them, those that were not sent whole
	shown   bitset        // everything that was ever offered: it may ask for it
	hidden  int           // pieces that are not in shown
	window  int           // how many may be open
	recent  float64       // absent pieces that it was offered lately, see turns
	hoard   int           // scarce pieces that it has, see turns
	gained  time.Time     // when it last had a new piece
	longest time.Duration // between two new pieces
	sentAt  time.Time     // when it was last sent something; zero: never
	fed     bool          // the others have fed it before
	starves bool          // the others do not feed it: it is fed from here
}

// offer is a piece that a peer may fetch and has not confirmed to have.
type offer struct {
	piece   uint32
	left    int64 // bytes that were not sent; of the last piece perhaps too many, which its HAVE mends
	made    time.Time
	touched time.Time // when a part of it was last sent
}

// Options say what a Swarm shares out.
type Options struct {
	Pieces      int   // at least two
	PieceLength int64 // bytes
	// Help is the share of the remaining time that helping must save to be
	// worth its bytes: 0 always helps, 1 never.
	Help float64
	Rand *rand.Rand
}

// New returns the state of a swarm without peers.
func New(o Options) *Swarm {
	s := &Swarm{
		Options: o,
		holders: make([]uint16, o.Pieces), fetching: make([]uint16, o.Pieces),
		absent: newBitset(o.Pieces), scarce: newBitset(o.Pieces), missing: o.Pieces,
		peers: make(map[*Peer]struct{}), loans: make(map[int][]loan),
	}
	for i := range o.Pieces {
		s.absent.set(i)
	}
	return s
}

// Join adds a peer that has nothing yet, as far as is known.
func (s *Swarm) Join(now time.Time) *Peer {
	p := &Peer{
		have: newBitset(s.Pieces), shown: newBitset(s.Pieces), hidden: s.Pieces, gained: now,
		window: s.windowStart(),
	}
	s.peers[p] = struct{}{}
	if !s.known {
		s.most = max(1, windowsMost/len(s.peers))
	}
	s.lacking += s.Pieces
	return p
}

func (s *Swarm) windowStart() int { return max(leastPieces, int(windowStart/s.PieceLength)) }

// Leave removes a peer: what it held and was fetching may be absent again.
func (s *Swarm) Leave(p *Peer) {
	if _, ok := s.peers[p]; !ok {
		return
	}
	delete(s.peers, p)
	s.lacking -= s.Pieces - p.count
	for i := range p.have.all() {
		s.holders[i]--
		s.weigh(i)
	}
	for _, o := range p.offers {
		s.release(int(o.piece))
	}
	p.offers, p.open = nil, 0
}

// Elsewhere tells how many peers that did not Join, or have left, have every
// piece, as the tracker knows. While there are any, nothing is absent.
func (s *Swarm) Elsewhere(seeds int) { s.seeds = seeds }

// Complete reports whether a peer has every piece.
func (s *Swarm) Complete(p *Peer) bool { return p.count == s.Pieces }

// Progress returns the share of all pieces that the peers have on average, from
// 0 to 1; 0 if there are no peers.
func (s *Swarm) Progress() float64 {
	if len(s.peers) == 0 {
		return 0
	}
	return 1 - float64(s.lacking)/float64(s.Pieces*len(s.peers))
}

// Missing returns the number of pieces that no peer has or is fetching.
func (s *Swarm) Missing() int { return s.missing }

// Has notes that a peer has a piece, which ends an offer of it, and reports
// whether that is new.
func (s *Swarm) Has(p *Peer, piece int, now time.Time) (fresh bool) {
	if p.have.has(piece) {
		return false
	}
	p.have.set(piece)
	if p.count++; p.count > 1 {
		p.longest = max(p.longest, now.Sub(p.gained))
	}
	s.lacking--
	p.gained = now
	s.reported += s.PieceLength
	s.holders[piece]++
	s.weigh(piece)
	i := slices.IndexFunc(p.offers, func(o offer) bool { return int(o.piece) == piece })
	if i < 0 {
		p.starves, p.fed = false, true
		return true
	}
	if p.offers[i].left > 0 {
		s.fetched(p, &p.offers[i], now)
	}
	p.offers = slices.Delete(p.offers, i, i+1)
	s.release(piece)
	return true
}

// Sent notes that so many bytes of a piece were sent to a peer.
func (s *Swarm) Sent(p *Peer, piece int, n int64, now time.Time) {
	s.sent += n
	p.sentAt = now
	i := slices.IndexFunc(p.offers, func(o offer) bool { return int(o.piece) == piece })
	if i < 0 {
		return // its HAVE was faster than the end of a long write
	}
	o := &p.offers[i]
	o.touched = now
	if o.left > 0 && o.left <= n {
		s.fetched(p, o, now)
	}
	o.left -= n
}

// fetched notes that an open offer is open no more, and fits the window to how
// long it was.
func (s *Swarm) fetched(p *Peer, o *offer, now time.Time) {
	p.open--
	switch took := now.Sub(o.made); {
	case took < fetchedSoon:
		p.window = min(p.window+1, max(leastPieces, int(windowMost/s.PieceLength)))
	case took > fetchedLate:
		p.window = max(p.window-1, leastPieces)
	}
}

// MayAsk reports whether a piece was offered to a peer at any time.
func (s *Swarm) MayAsk(p *Peer, piece int) bool { return p.shown.has(piece) }

// Next returns the next piece to offer to a peer, and counts it as offered. ok
// is false when there is none for it now.
//
// The last two pieces are shown together: a HAVE that makes us a seed in the
// eyes of a client that is not interested at that moment makes libtorrent
// leave. So a Swarm needs at least two pieces.
func (s *Swarm) Next(p *Peer, now time.Time) (piece int, ok bool) {
	if p.hidden == 1 {
		return s.show(p, s.lastHidden(p), now), true
	}
	if p.open >= min(p.window, s.most) || len(p.offers) >= unconfirmed*p.window || p.count == s.Pieces {
		return 0, false
	}
	if len(p.offers) == 0 && now.Sub(p.gained) >= p.patience() {
		p.starves = true
	}
	piece = -1
	if s.seeds == 0 && s.hasTurn(p) {
		if piece = s.absentFor(p); piece >= 0 {
			s.noteTurn(p)
		}
	}
	if piece < 0 && (p.starves || s.helping) {
		piece = s.rarestFor(p)
	}
	if piece < 0 {
		return 0, false
	}
	return s.show(p, piece, now), true
}

// patience is how long a peer may be without a new piece before it starves.
func (p *Peer) patience() time.Duration {
	if !p.fed {
		return starvesAfter
	}
	return min(max(3*p.longest, fedSoon), fedAgain)
}

// show notes that a piece is offered to a peer.
func (s *Swarm) show(p *Peer, piece int, now time.Time) int {
	if !p.shown.has(piece) {
		p.shown.set(piece)
		p.hidden--
	}
	if !p.have.has(piece) {
		p.offers = append(p.offers, offer{uint32(piece), s.PieceLength, now, now})
		p.open++
		s.fetching[piece]++
		s.weigh(piece)
	}
	return piece
}

// lastHidden returns the one piece that was not shown to a peer.
func (s *Swarm) lastHidden(p *Peer) int {
	for w, m := range p.shown {
		if m = ^m & s.valid(w); m != 0 {
			return w*64 + bits.TrailingZeros64(m)
		}
	}
	panic("offer: nothing is hidden")
}

// Lend reports whether the pieces first to last are all absent, but for loans to
// the address that asks and offers to its own peers: what it asks for it does not
// get otherwise. Then they count as being fetched for a while: a webseed sends them.
func (s *Swarm) Lend(first, last int, now time.Time, to netip.Addr, own ...*Peer) bool {
	if s.seeds > 0 {
		return false
	}
	for i := first; i <= last; i++ {
		if !s.absent.has(i) && !s.onlyWith(i, to, own) {
			return false
		}
	}
	for i := first; i <= last; i++ {
		s.loans[i] = append(s.loans[i], loan{to, now.Add(loanedFor)})
		s.fetching[i]++
		s.weigh(i)
	}
	return true
}

// onlyWith reports whether a piece is with nobody but the one at an address with
// these peers, and on its way there.
func (s *Swarm) onlyWith(piece int, to netip.Addr, own []*Peer) bool {
	if s.holders[piece] > 0 {
		return false
	}
	fetching := 0
	for _, p := range own {
		if slices.ContainsFunc(p.offers, func(o offer) bool { return int(o.piece) == piece }) {
			fetching++
		}
	}
	for _, l := range s.loans[piece] {
		if l.to == to {
			fetching++
		}
	}
	return int(s.fetching[piece]) == fetching
}

// Return ends the loans of the pieces first to last to an address, of which those
// before unsent were sent whole: whoever has these shows it soon, or has left.
func (s *Swarm) Return(first, unsent, last int, now time.Time, to netip.Addr) {
	for i := first; i <= last; i++ {
		for j := range s.loans[i] {
			switch l := &s.loans[i][j]; {
			case l.to != to:
			case i >= unsent:
				l.until = now
			case l.until.After(now.Add(shownIn)):
				l.until = now.Add(shownIn)
			}
		}
		s.expireLoans(i, now)
	}
}

// expireLoans ends the loans of a piece whose time is over.
func (s *Swarm) expireLoans(piece int, now time.Time) {
	loans := slices.DeleteFunc(s.loans[piece], func(l loan) bool {
		if l.until.After(now) {
			return false
		}
		s.release(piece)
		return true
	})
	if s.loans[piece] = loans; len(loans) == 0 {
		delete(s.loans, piece)
	}
}

// Lent reports whether there are loans.
func (s *Swarm) Lent() bool { return len(s.loans) > 0 }

// Peer tells whether a peer has a piece, how many it lacks, and when it last
// gained one.
func (s *Swarm) Peer(p *Peer, piece int) (has bool, lacks int, gained time.Time) {
	return p.have.has(piece), s.Pieces - p.count, p.gained
}

// Absent reports whether no peer has a piece or is fetching it.
func (s *Swarm) Absent(piece int) bool { return s.absent.has(piece) }

// expire takes back offers that make no progress.
func (s *Swarm) expire(now time.Time) {
	for piece := range s.loans {
		s.expireLoans(piece, now)
	}
	for p := range s.peers {
		p.offers = slices.DeleteFunc(p.offers, func(o offer) bool {
			if idle := now.Sub(o.touched); idle < stalledAfter || idle < queuedAtMost && now.Sub(p.sentAt) < stalledAfter {
				return false
			}
			if o.left > 0 {
				p.open--
			}
			s.release(int(o.piece))
			if !p.sentAt.IsZero() {
				p.window = max(p.window/2, leastPieces)
			}
			return true
		})
	}
}

// release ends an offer.
func (s *Swarm) release(piece int) {
	s.fetching[piece]--
	s.weigh(piece)
}

// weigh keeps absent as the counts of a piece say.
func (s *Swarm) weigh(piece int) {
	is := s.holders[piece] == 0 && s.fetching[piece] == 0
	if is == s.absent.has(piece) {
		return
	}
	if is {
		s.absent.set(piece)
		s.missing++
	} else {
		s.absent.clear(piece)
		s.missing--
	}
}

// absentFor returns a random piece that is absent and that p lacks and was not
// offered before, or, if all were, one that was; -1 if there is none.
func (s *Swarm) absentFor(p *Peer) int {
	if s.missing == 0 {
		return -1
	}
	again := -1
	from := s.Rand.IntN(len(s.absent))
	for n := range s.absent {
		w := (from + n) % len(s.absent)
		if m := s.absent[w] &^ p.have[w]; m != 0 {
			if fresh := m &^ p.shown[w]; fresh != 0 {
				return w*64 + s.randomBit(fresh)
			}
			again = w*64 + s.randomBit(m)
		}
	}
	return again
}

// rarestFor returns the rarest of some random pieces that p lacks and is not
// fetching; -1 if there is none.
func (s *Swarm) rarestFor(p *Peer) int {
	best, seen := -1, 0
	from := s.Rand.IntN(len(p.have))
	for n := 0; n < len(p.have) && seen < rarestOf; n++ {
		w := (from + n) % len(p.have)
		for m := ^p.have[w] & s.valid(w); m != 0 && seen < rarestOf; m &= m - 1 {
			i := w*64 + bits.TrailingZeros64(m)
			if slices.ContainsFunc(p.offers, func(o offer) bool { return int(o.piece) == i }) {
				continue
			}
			seen++
			if best < 0 || int(s.holders[i])+int(s.fetching[i]) < int(s.holders[best])+int(s.fetching[best]) {
				best = i
			}
		}
	}
	return best
}

// valid masks the bits of a word that stand for pieces.
func (s *Swarm) valid(word int) uint64 {
	if rest := s.Pieces - word*64; rest < 64 {
		return 1<<rest - 1
	}
	return ^uint64(0)
}

// randomBit returns the index of a random set bit.
func (s *Swarm) randomBit(m uint64) int {
	for n := s.Rand.IntN(bits.OnesCount64(m)); n > 0; n-- {
		m &= m - 1
	}
	return bits.TrailingZeros64(m)
}
