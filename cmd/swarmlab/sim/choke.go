package sim

import (
	"cmp"
	"slices"
	"time"
)

const (
	slots       = 8 // peers that a client sends to, one of them by chance
	chooseEvery = 10 * time.Second
	luckyFor    = 3 // choices
)

// open lets a neighbour ask.
func (s *sim) open(u, i int32) {
	n := &s.nodes[u]
	f := &n.flows[i]
	f.open = true
	n.opened++
	to := &s.nodes[f.to]
	to.sources = append(to.sources, source{u, i})
	s.askMore(u, i)
}

// shut ends that, and withdraws what the neighbour has asked for. It may be
// called for a flow that is not open.
func (s *sim) shut(u, i int32) {
	n := &s.nodes[u]
	f := &n.flows[i]
	if !f.open {
		return
	}
	f.open = false
	n.opened--
	for len(f.asked) > 0 {
		s.withdraw(u, i, len(f.asked)-1)
	}
	to := &s.nodes[f.to]
	at, last := slices.Index(to.sources, source{u, i}), len(to.sources)-1
	to.sources[at] = to.sources[last]
	to.sources = to.sources[:last]
}

// openNext gives what is free of a node's slots to neighbours that want something.
func (s *sim) openNext(u int32) {
	n := &s.nodes[u]
	if n.opened >= slots || n.tellings == 0 {
		return
	}
	from := s.rand.IntN(len(n.flows))
	for k := range n.flows {
		i := (from + k) % len(n.flows)
		if f := &n.flows[i]; f.to != none && !f.open && s.wants(f.to, u) {
			s.open(u, int32(i))
			if n.opened >= slots {
				return
			}
		}
	}
}

// rechoke chooses anew to whom a peer sends.
func (s *sim) rechoke(u int32) {
	n := &s.nodes[u]
	if n.gone {
		return
	}
	s.at(s.now+chooseEvery, chokes, u, 0)
	var want []int32
	for i := range n.flows {
		if f := &n.flows[i]; f.to != none && s.wants(f.to, u) {
			want = append(want, int32(i))
		}
	}
	slices.SortStableFunc(want, func(i, j int32) int {
		f, g := &n.flows[i], &n.flows[j]
		if n.count == s.pieces {
			return cmp.Compare(g.sent, f.sent)
		}
		return cmp.Compare(g.got, f.got)
	})
	chosen := s.choose(n, want)
	for i := range n.flows {
		f := &n.flows[i]
		f.sent, f.got = 0, 0
		if f.open && !slices.Contains(chosen, int32(i)) {
			to := f.to
			s.shut(u, int32(i))
			s.look(to)
		}
	}
	for _, i := range chosen {
		if !n.flows[i].open {
			s.open(u, i)
		}
	}
}

// choose returns the first of those who want something, and one by chance.
func (s *sim) choose(n *node, want []int32) []int32 {
	n.choices++
	if len(want) <= slots {
		return want
	}
	chosen, rest := want[:slots-1:slots-1], want[slots-1:]
	if n.choices%luckyFor == 1 || !slices.Contains(rest, n.lucky) {
		n.lucky = rest[s.rand.IntN(len(rest))]
	}
	return append(chosen, n.lucky)
}
