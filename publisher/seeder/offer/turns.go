package offer

import "time"

const (
	fading     = 0.8              // of what counts as lately, from one review to the next
	ahead      = 1.1              // times the mean that a peer may have been offered lately
	hoards     = 1.5              // times the mean of scarce pieces that a peer may have
	scarceIn   = 8                // one peer in so many has it, and one more: a piece is scarce
	full       = 0.8              // of what the line can do: it is full
	holdAgain  = 2 * time.Second  // after holding back left the line idle, at first
	holdAtLast = 10 * time.Minute // ... and at the most
)

// turns keep the peers' shares of what is absent alike. Left to themselves, a
// few whose connections happen to be fast get most of it, and then the others
// have to wait for what only these few can pass on. So a peer that is ahead of
// the mean gets nothing new for a while, and neither does one that passes on less
// than the others do, as long as our line is full all the same; when it is not,
// the others are slow, and the next try comes later.
type turns struct {
	full    bool // the line was, at the last review
	holding bool
	mean    float64 // pieces that those who take any were offered lately
	takers  int
	hoarded float64       // scarce pieces that a peer has, in the mean
	next    time.Time     // try again to hold back
	pause   time.Duration // until the next try after this
}

// hasTurn reports whether a peer may be offered what is absent.
func (s *Swarm) hasTurn(p *Peer) bool {
	some := float64(s.windowStart())
	return (!s.holding || p.recent <= ahead*s.mean+some) && (!s.full || float64(p.hoard) <= hoards*s.hoarded+some)
}

// noteTurn notes that a peer was offered something absent.
func (s *Swarm) noteTurn(p *Peer) {
	p.recent++
	s.mean += 1 / float64(max(s.takers, 1))
}

// reviewTurns decides whether to hold back peers that are ahead. sent is how
// fast we sent since the last review, free how fast we could have, in bytes per second.
func (s *Swarm) reviewTurns(now time.Time, sent, free float64) {
	s.mean, s.takers, s.hoarded = 0, 0, 0
	clear(s.scarce)
	for i, n := range s.holders {
		if n > 0 && int(n) <= 1+len(s.peers)/scarceIn {
			s.scarce.set(i)
		}
	}
	for p := range s.peers {
		p.hoard = p.have.common(s.scarce)
		s.hoarded += float64(p.hoard) / float64(len(s.peers))
		p.recent *= fading
		if p.recent >= 1 {
			s.mean += p.recent
			s.takers++
		}
	}
	s.mean /= float64(max(s.takers, 1))
	s.full = free > 0 && sent >= full*free
	switch {
	case s.missing == 0:
	case s.holding && !s.full:
		s.holding = false
		s.next = now.Add(s.pause)
		s.pause = min(2*s.pause, holdAtLast)
	case !s.holding && s.full && !now.Before(s.next):
		s.holding = true
		s.pause = max(s.pause, holdAgain)
	}
}
