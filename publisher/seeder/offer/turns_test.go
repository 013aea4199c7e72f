package offer

import (
	"slices"
	"testing"
	"time"
)

// share lets peers fetch for some seconds from a line that sends so many pieces
// a second, each peer as many as it can, those first in the list first, and
// returns how many each got and how many were sent in all.
func share(t *testing.T, s *Swarm, line int, can []int, seconds int) (got []int, sent int) {
	peers := make([]*Peer, len(can))
	queues := make([][]int, len(can))
	got = make([]int, len(can))
	for i := range can {
		peers[i] = s.Join(start)
	}
	for tick := range 10 * seconds {
		now := after(time.Duration(tick) * time.Second / 10)
		if tick%10 == 0 {
			s.Review(now, float64(line*testLength))
		}
		left := line / 10
		for i, p := range peers {
			queues[i] = append(queues[i], drain(s, p, now)...)
			n := min(left, len(queues[i]), max(1, can[i]/10))
			for _, piece := range queues[i][:n] {
				s.Sent(p, piece, testLength, now)
				s.Has(p, piece, now)
			}
			queues[i] = queues[i][n:]
			got[i] += n
			left -= n
			sent += n
		}
	}
	check(t, s)
	return got, sent
}

func TestPeersGetEqualShares(t *testing.T) {
	// The first could take all of the line, and so could the second.
	got, sent := share(t, newSwarm(), 20, []int{20, 20, 12, 12}, 20)
	mean := sent / len(got)
	for i, n := range got {
		if n > mean*3/2 {
			t.Errorf("peer %d got %d pieces of %d: %v", i, n, sent, got)
		}
	}
	if sent < 20*20*9/10 {
		t.Errorf("%d pieces were sent in 20 s, want 20 a second", sent)
	}
}

func TestSlowPeersDoNotHoldBackAFastOne(t *testing.T) {
	got, sent := share(t, newSwarm(), 50, []int{40, 1, 1, 1}, 8)
	if got[0] < 8*40*2/3 {
		t.Errorf("the fast one got %d of %d pieces, it could take 320", got[0], sent)
	}
}

// TestWhoPassesOnLittleGetsLittle has two peers that keep what they get, beside
// four that pass it on to all within a second.
func TestWhoPassesOnLittleGetsLittle(t *testing.T) {
	s := newSwarm()
	const line, each = 24, 10 // pieces a second
	var peers []*Peer
	got := make([]int, 6)
	for range got {
		peers = append(peers, s.Join(start))
	}
	var fresh []int // what is passed on
	for sec := range 12 {
		now := after(time.Duration(sec) * time.Second)
		s.Review(now, line*testLength)
		for _, piece := range fresh {
			for _, p := range peers {
				s.Has(p, piece, now)
			}
		}
		fresh = fresh[:0]
		left := line
		for i, p := range peers {
			for n := 0; n < each && left > 0; n++ {
				piece, ok := s.Next(p, now)
				if !ok {
					break
				}
				left--
				got[i]++
				s.Sent(p, piece, testLength, now)
				s.Has(p, piece, now)
				if i >= 2 {
					fresh = append(fresh, piece)
				}
			}
		}
	}
	if most, least := slices.Max(got[:2]), slices.Min(got[2:]); most >= least {
		t.Errorf("one that passes on nothing got %d pieces, one that does %d, though it came later: %v", most, least, got)
	}
	check(t, s)
}
