package offer

import (
	"testing"
	"time"
)

// crowd returns a swarm of which everything is out: each of so many peers has
// an equal part.
func crowd(t *testing.T, help float64, peers int) (*Swarm, []*Peer) {
	t.Helper()
	s := newSwarm()
	s.Help = help
	var all []*Peer
	for range peers {
		all = append(all, s.Join(start))
	}
	for i := range testPieces {
		s.Has(all[i%peers], i, start)
	}
	if s.Missing() != 0 {
		t.Fatalf("%d pieces missing", s.Missing())
	}
	s.Review(start, 0)
	return s, all
}

// feed lets the peers send each other so many pieces a second at the given
// rates, while the origin could send free pieces a second, and returns after
// how many seconds it began to help and how many it helped; -1: never.
func feed(s *Swarm, peers []*Peer, free float64, rates ...int) (began, helped int) {
	next, began := make([]int, len(peers)), -1
	for sec, rate := range rates {
		for n := range rate {
			p := n % len(peers)
			for peers[p].have.has(next[p]) {
				next[p]++
			}
			s.Has(peers[p], next[p], after(time.Duration(sec)*time.Second))
		}
		s.Review(after(time.Duration(sec+1)*time.Second), free*testLength)
		if s.Helping() {
			helped++
			if began < 0 {
				began = sec + 1
			}
		}
	}
	return began, helped
}

func steady(rate, seconds int) (rates []int) {
	for range seconds {
		rates = append(rates, rate)
	}
	return rates
}

func TestPeersWithFullLinesAreHelped(t *testing.T) {
	s, peers := crowd(t, 0.2, 10)
	if began, _ := feed(s, peers, 50, steady(100, 12)...); began != steadyOver {
		t.Fatalf("help began after %d s, want %d", began, steadyOver)
	}
	if got := drain(s, peers[0], after(12*time.Second)); len(got) == 0 {
		t.Error("nothing is offered by way of help")
	}
	check(t, s)
}

func TestNoHelpThatIsNotWorthIt(t *testing.T) {
	for name, row := range map[string]struct {
		help, free float64
		rates      []int
	}{
		"it saves too little":                 {0.2, 20, steady(100, 12)},
		"never":                               {1, 1000, steady(100, 12)},
		"the rate rises":                      {0.2, 50, []int{10, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200, 220}},
		"the rate comes and goes":             {0.2, 50, []int{100, 100, 100, 0, 0, 100, 100, 100, 0, 0, 100, 100}},
		"nobody has done anything yet":        {0.2, 50, steady(0, 12)},
		"it would be done soon, all the same": {0.2, 500, steady(550, 8)},
	} {
		s, peers := crowd(t, row.help, 10)
		if began, _ := feed(s, peers, row.free, row.rates...); began >= 0 {
			t.Errorf("%s: help began after %d s", name, began)
		}
	}
}

func TestHelpAlways(t *testing.T) {
	s, peers := crowd(t, 0, 10)
	if began, _ := feed(s, peers, 1, 0); began != 1 {
		t.Errorf("help began after %d s", began)
	}
}

func TestHelpThatDoesNotHelpEnds(t *testing.T) {
	s, peers := crowd(t, 0.2, 10)
	began, helped := feed(s, peers, 50, append(steady(100, 8), steady(20, 10)...)...)
	if began != 8 || helped > 5 {
		t.Errorf("help began after %d s and lasted %d", began, helped)
	}
}
