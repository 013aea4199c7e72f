package offer

import (
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
