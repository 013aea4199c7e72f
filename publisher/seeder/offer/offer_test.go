package offer

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

const (
	testPieces = 500
	testLength = 256 << 10
)

func newSwarm() *Swarm {
	return New(Options{Pieces: testPieces, PieceLength: testLength, Help: 1, Rand: rand.New(rand.NewPCG(1, 2))})
}

var start = time.Unix(1_000_000, 0)

func after(d time.Duration) time.Time { return start.Add(d) }

// drain takes all that is offered to a peer now.
func drain(s *Swarm, p *Peer, now time.Time) (pieces []int) {
	for {
		i, ok := s.Next(p, now)
		if !ok {
			return pieces
		}
		pieces = append(pieces, i)
	}
}

// check compares what the swarm keeps up to date with what it follows from.
func check(t *testing.T, s *Swarm) {
	t.Helper()
	holders, fetching := make([]uint16, s.Pieces), make([]uint16, s.Pieces)
	for p := range s.peers {
		n := 0
		for i := range p.have.all() {
			holders[i]++
			n++
		}
		if n != p.count {
			t.Fatalf("a peer has %d pieces and is said to have %d", n, p.count)
		}
		open := 0
		for _, o := range p.offers {
			fetching[o.piece]++
			if o.left > 0 {
				open++
			}
		}
		if open != p.open {
			t.Fatalf("%d offers are open, want %d", p.open, open)
		}
	}
	for piece, loans := range s.loans {
		fetching[piece] += uint16(len(loans))
	}
	missing := 0
	for i := range s.Pieces {
		absent := holders[i] == 0 && fetching[i] == 0
		if absent {
			missing++
		}
		if holders[i] != s.holders[i] || fetching[i] != s.fetching[i] || absent != s.Absent(i) {
			t.Fatalf("piece %d: %d holders, %d fetching, absent %v; want %d, %d, %v", i, s.holders[i], s.fetching[i], s.Absent(i), holders[i], fetching[i], absent)
		}
	}
	if missing != s.Missing() {
		t.Fatalf("%d pieces missing, want %d", s.Missing(), missing)
	}
}

func TestEachPieceGoesToOnePeerFirst(t *testing.T) {
	s := newSwarm()
	seen := make(map[int]bool)
	a, b := s.Join(start), s.Join(start)
	for s.Missing() > 0 {
		before := s.Missing()
		for _, p := range []*Peer{a, b} {
			for _, i := range drain(s, p, start) {
				if seen[i] {
					t.Fatalf("piece %d is offered twice", i)
				}
				seen[i] = true
				s.Has(p, i, start)
			}
		}
		if s.Missing() == before {
			t.Fatalf("nothing is offered with %d pieces missing", before)
		}
		check(t, s)
	}
	if got := append(drain(s, a, start), drain(s, b, start)...); len(got) > 0 {
		t.Errorf("offered again: %v", got)
	}
}

func TestWindowGrowsWithAFastPeerAndShrinksWithASlowOne(t *testing.T) {
	s := newSwarm()
	p := s.Join(start)
	first := drain(s, p, start)
	if len(first) != leastPieces {
		t.Fatalf("%d pieces at first, want %d", len(first), leastPieces)
	}
	for _, i := range first {
		s.Has(p, i, after(time.Second))
	}
	second := drain(s, p, after(time.Second))
	if len(second) != 2*leastPieces {
		t.Errorf("%d pieces after a fast window, want %d", len(second), 2*leastPieces)
	}
	for _, i := range second {
		s.Sent(p, i, 1, after(30*time.Second))
		s.Has(p, i, after(31*time.Second))
	}
	if got := drain(s, p, after(31*time.Second)); len(got) != leastPieces {
		t.Errorf("%d pieces after a slow window, want %d", len(got), leastPieces)
	}
	check(t, s)
}

// TestTheWindowDoesNotWaitForHAVE is for aria2, which holds HAVEs back.
func TestTheWindowDoesNotWaitForHAVE(t *testing.T) {
	s := newSwarm()
	p := s.Join(start)
	total := 0
	for sec := range 8 {
		now := after(time.Duration(sec) * time.Second)
		for _, i := range drain(s, p, now) {
			s.Sent(p, i, testLength, now)
			total++
		}
		s.Review(now, 0)
		check(t, s)
	}
	if total < 100 {
		t.Errorf("%d pieces were offered", total)
	}
	s.Review(after(stalledAfter+8*time.Second), 0)
	if s.Missing() != testPieces || len(p.offers) != 0 || p.window != leastPieces {
		t.Errorf("what was never confirmed still counts: %d missing, %d offers, window %d", s.Missing(), len(p.offers), p.window)
	}
}

func TestOffersOfAPeerThatLeftOrStalledAreMadeAgain(t *testing.T) {
	s := newSwarm()
	gone, stalled, other := s.Join(start), s.Join(start), s.Join(start)
	lost := drain(s, gone, start)
	s.Has(gone, lost[0], start)
	held := drain(s, stalled, start)
	s.Leave(gone)
	s.Leave(gone) // does nothing more
	s.Sent(stalled, held[0], 1, after(9*time.Second))
	s.Review(after(stalledAfter), 0)
	if s.Absent(held[1]) {
		t.Error("an offer was taken back that waits behind another of its peer")
	}
	s.Sent(stalled, held[0], 1, after(queuedAtMost-9*time.Second))
	s.Review(after(queuedAtMost), 0)
	check(t, s)
	for _, i := range append(lost, held[1:]...) {
		if !s.Absent(i) {
			t.Errorf("piece %d is not free again", i)
		}
	}
	if s.Absent(held[0]) {
		t.Error("an offer that makes progress was taken back")
	}
	got := make(map[int]bool)
	for n := 0; s.Missing() > 0 && n < testPieces; n++ {
		for _, i := range drain(s, other, after(stalledAfter)) {
			got[i] = true
			s.Has(other, i, after(stalledAfter))
		}
	}
	for _, i := range append(lost, held[1:]...) {
		if !got[i] {
			t.Errorf("piece %d was not offered to the other", i)
		}
	}
}

func TestAStarvingPeerIsFedUntilOthersFeedIt(t *testing.T) {
	s := newSwarm()
	full, late := s.Join(start), s.Join(start)
	for i := range testPieces {
		s.Has(full, i, start)
	}
	if got := drain(s, late, after(starvesAfter-1)); len(got) > 0 {
		t.Fatalf("offered %v while others may feed it", got)
	}
	now := after(starvesAfter)
	got := drain(s, late, now)
	if len(got) != leastPieces {
		t.Fatalf("a starving peer is offered %d pieces", len(got))
	}
	s.Has(late, got[0], now)
	if more := drain(s, late, now); len(more) == 0 {
		t.Error("a peer that only we feed is not fed on")
	}
	for i := range testPieces {
		if !s.MayAsk(late, i) {
			s.Has(late, i, now) // from others
			break
		}
	}
	if more := drain(s, late, now); len(more) > 0 {
		t.Errorf("fed on with %v while others feed it", more)
	}
	check(t, s)
}

// TestTheLastTwoPiecesAreShownTogether is for libtorrent, which leaves a seed
// that shows itself as one while it is not interested.
func TestTheLastTwoPiecesAreShownTogether(t *testing.T) {
	s := newSwarm()
	p := s.Join(start)
	for p.hidden > 0 {
		got := drain(s, p, start)
		if p.hidden == 1 {
			t.Fatal("one piece is left hidden")
		}
		if p.hidden == 0 && len(got) < 2 {
			t.Fatalf("the last HAVE came alone: %v", got)
		}
		for _, i := range got {
			s.Has(p, i, start)
			check(t, s)
		}
	}
}

func TestSeedsElsewhereHoldEverything(t *testing.T) {
	s := newSwarm()
	p := s.Join(start)
	s.Elsewhere(1)
	if got := drain(s, p, start); len(got) > 0 {
		t.Errorf("offered %v", got)
	}
	s.Elsewhere(0)
	if got := drain(s, p, start); len(got) == 0 {
		t.Error("nothing is offered when they are gone")
	}
}

func TestLoansRunOut(t *testing.T) {
	s := newSwarm()
	p := s.Join(start)
	here, elsewhere := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	if !s.Lend(0, testPieces/2, start, here) || !s.Lend(testPieces/2+1, testPieces-1, start, here) {
		t.Fatal("absent pieces are not lent")
	}
	if s.Lend(7, 9, start, elsewhere) {
		t.Error("pieces are lent to another as well")
	}
	if !s.Lend(7, 9, start, here) {
		t.Error("pieces are not lent again to who asks again")
	}
	if got := drain(s, p, start); len(got) > 0 {
		t.Errorf("offered %v, which somebody fetches", got)
	}
	s.Return(0, 3, 5, start, elsewhere) // does nothing
	s.Return(0, 3, 5, start, here)
	if got := drain(s, p, start); len(got) != 3 || slices.Min(got) != 3 {
		t.Errorf("offered %v, want 3 to 5, which were not sent", got)
	}
	s.Leave(p)
	p = s.Join(after(shownIn - time.Second))
	s.Review(after(shownIn-time.Second), 0)
	if got := drain(s, p, after(shownIn-time.Second)); len(got) != 3 || slices.Min(got) != 3 {
		t.Errorf("offered %v, want 3 to 5: the others may be shown yet", got)
	}
	s.Review(after(shownIn), 0)
	if got := drain(s, p, after(shownIn)); len(got) == 0 || slices.Max(got) > 2 {
		t.Errorf("offered %v, want of 0 to 2, which nobody showed", got)
	}
	s.Review(after(loanedFor), 0)
	if s.Lent() || s.Missing() == 0 {
		t.Errorf("after the loans: %d missing, lent %v", s.Missing(), s.Lent())
	}
	check(t, s)
}

// TestWhatIsOnItsWayIsLentToItsOwner: a client asks over HTTP for what its peer
// was offered. It keeps that from the peer, so it would be on its way for ever.
func TestWhatIsOnItsWayIsLentToItsOwner(t *testing.T) {
	s := newSwarm()
	p, other := s.Join(start), s.Join(start)
	here := netip.MustParseAddr("192.0.2.1")
	mine, theirs := drain(s, p, start)[0], drain(s, other, start)[0]
	if s.Lend(theirs, theirs, start, here, p) {
		t.Error("lent what is on its way to another")
	}
	if !s.Lend(mine, mine, start, here, p) {
		t.Error("not lent what is on its way to the same")
	}
	s.Has(p, mine, start)
	s.Return(mine, mine+1, mine, start, here)
	if s.Lend(mine, mine, start, here, p) {
		t.Error("lent what has arrived")
	}
	check(t, s)
}

func TestOnlyWhatWasOfferedMayBeAskedFor(t *testing.T) {
	s := newSwarm()
	a, b := s.Join(start), s.Join(start)
	i, _ := s.Next(a, start)
	if !s.MayAsk(a, i) || s.MayAsk(b, i) {
		t.Errorf("MayAsk: %v, %v", s.MayAsk(a, i), s.MayAsk(b, i))
	}
}

// TestNobodyIsLeftBehind plays whole downloads with peers of every kind, in
// steps of a second, and counts what the origin sends.
func TestNobodyIsLeftBehind(t *testing.T) {
	for _, tc := range []struct {
		name   string
		honest int
		bad    func(s *Swarm, now time.Time) // what bad peers do each second
		dies   bool                          // a third of the peers, half way
		copies float64
	}{
		{name: "alone", honest: 1, copies: 1},
		{name: "crowd", honest: 10, copies: 1},
		{name: "deaths", honest: 9, dies: true, copies: 1.8},
		{name: "takers that never finish", honest: 10, copies: 1, bad: func(s *Swarm, now time.Time) {
			if len(s.peers) < 13 {
				s.Join(now)
			}
			for p := range s.peers {
				if p.count == 0 {
					drain(s, p, now)
				}
			}
		}},
		{name: "a liar that claims all", honest: 10, copies: 11, bad: func(s *Swarm, now time.Time) {
			if len(s.peers) == 10 {
				liar := s.Join(now)
				for i := range testPieces {
					s.Has(liar, i, now)
				}
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { play(t, tc.honest, tc.bad, tc.dies, tc.copies) })
	}
}

func play(t *testing.T, honest int, bad func(*Swarm, time.Time), dies bool, copies float64) {
	s := newSwarm()
	r := rand.New(rand.NewPCG(3, 4))
	var peers []*Peer
	for range honest {
		peers = append(peers, s.Join(start))
	}
	queue := make(map[*Peer][]int)
	sent := 0
	for sec := range 600 {
		now := after(time.Duration(sec) * time.Second)
		if bad != nil {
			bad(s, now)
		}
		s.Review(now, 0)
		done := 0
		for n, p := range peers {
			if p == nil {
				done++
				continue
			}
			queue[p] = append(queue[p], drain(s, p, now)...)
			for range 5 { // pieces a second from the origin
				if len(queue[p]) == 0 {
					break
				}
				i := queue[p][0]
				queue[p] = queue[p][1:]
				if !p.have.has(i) {
					sent++
					s.Sent(p, i, testLength, now)
					s.Has(p, i, now)
				}
			}
			for range 8 { // pieces a second from random others
				q := peers[r.IntN(len(peers))]
				from := r.IntN(testPieces)
				for j := range testPieces {
					if i := (from + j) % testPieces; q != nil && q.have.has(i) && !p.have.has(i) {
						s.Has(p, i, now)
						break
					}
				}
			}
			if s.Complete(p) {
				done++
			}
			if dies && n%3 == 0 && p.count > testPieces/2 {
				s.Leave(p)
				peers[n] = nil
			}
		}
		check(t, s)
		if done == len(peers) {
			if got := float64(sent) / testPieces; got > copies {
				t.Errorf("%.2f copies, want at most %.2f", got, copies)
			}
			return
		}
	}
	state := ""
	for _, p := range peers {
		if p != nil {
			state += fmt.Sprintf(" %d/%d", p.count, len(p.offers))
		}
	}
	t.Errorf("not done after ten minutes, %d missing:%s", s.Missing(), state)
}

// BenchmarkPolicy is the cost of a HAVE and of an offer, at 10,000 peers and
// 8,000 pieces.
func BenchmarkPolicy(b *testing.B) {
	const pieces, peers = 8000, 10_000
	s := New(Options{Pieces: pieces, PieceLength: testLength, Rand: rand.New(rand.NewPCG(1, 2))})
	var all []*Peer
	for range peers {
		all = append(all, s.Join(start))
	}
	b.Run("have", func(b *testing.B) {
		n := 0
		for b.Loop() {
			s.Has(all[n%peers], (n*7919)%pieces, start)
			n++
		}
	})
	b.Run("offer", func(b *testing.B) {
		n := 0
		for b.Loop() {
			p := all[n%peers]
			if i, ok := s.Next(p, start); ok {
				s.Has(p, i, start)
			}
			n++
		}
	})
}
