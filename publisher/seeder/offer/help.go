package offer

import (
	"slices"
	"time"
)

const (
	steadyOver   = 8                // reviews in which a rate must be steady to mean something
	steadyWithin = 0.75             // the least of them, as a share of the most
	worthwhile   = 2 * time.Second  // what is done so soon needs no help
	effective    = 0.75             // of the peers' rate must remain when they are helped
	helpAgain    = 30 * time.Second // after helping was of no use
)

// pace is how fast a swarm feeds itself, and what follows from it. One copy is
// not always fastest: when the peers' own lines are the bottleneck (home lines
// send little), the origin helps once everything is out, by offering what is
// rarest beside the peers.
//
// Lines that are full show as a steady rate; a rate that rises and falls means
// that something else slows the peers, which no help of ours would change. If
// the peers send each other less as soon as they are helped, then it was not
// their sending that was slow, and the help ends.
type pace struct {
	reported int64 // bytes that peers said they have gained since the last review
	sent     int64 // bytes of offers that were sent since then
	reviewed time.Time
	own      [steadyOver]float64 // bytes per second that the peers sent each other, latest last

	helping bool
	before  float64   // own when helping began
	not     time.Time // no help until then
}

// Review takes back offers that make no progress, and decides whether to help.
// It is called about once a second; then Next may have something for peers that
// had nothing. free is what the origin could send to this swarm, what it sends
// it now included, in bytes per second.
func (s *Swarm) Review(now time.Time, free float64) {
	s.expire(now)
	reported, sent, dt := s.reported, s.sent, now.Sub(s.reviewed).Seconds()
	first := s.reviewed.IsZero()
	s.reported, s.sent, s.reviewed = 0, 0, now
	if free > 0 && len(s.peers) > 0 {
		s.known = true
		s.most = max(1, int(windowsTime*free/float64(s.PieceLength)/float64(len(s.peers))))
	}
	s.reviewTurns(now, float64(sent)/max(dt, 0.1), free)
	if first || dt <= 0 {
		return
	}
	copy(s.own[:], s.own[1:])
	s.own[steadyOver-1] = max(0, float64(reported-sent)/dt)
	s.helping = s.worthHelping(now, free)
}

// worthHelping reports whether sending at rate free as well would bring the
// peers what they lack sooner by more than the share that is set.
func (s *Swarm) worthHelping(now time.Time, free float64) bool {
	lacking := float64(s.lacking) * float64(s.PieceLength)
	own, steady := s.Pace()
	switch {
	case s.missing > 0 && s.seeds == 0 || lacking == 0 || s.Help >= 1:
		return false
	case s.Help <= 0:
		return true
	case own == 0 || lacking/own < worthwhile.Seconds() || free/(own+free) < s.Help || now.Before(s.not):
		// The time without help is lacking/own, and with it lacking/(own+free).
		return false
	case s.helping && own < effective*s.before:
		s.not = now.Add(helpAgain)
		return false
	case !s.helping && steady:
		s.before = own
		return true
	}
	return s.helping
}

// Pace returns how many bytes per second the peers send each other, and whether
// that is steady.
func (s *Swarm) Pace() (own float64, steady bool) {
	for _, v := range s.own {
		own += v / steadyOver
	}
	return own, slices.Min(s.own[:]) > steadyWithin*slices.Max(s.own[:])
}

// Helping reports whether the origin helps a swarm that has all pieces.
func (s *Swarm) Helping() bool { return s.helping }
