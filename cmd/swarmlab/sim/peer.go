package sim

import (
	"math/bits"
	"slices"
	"time"
)

const (
	toldOf       = 50      // peers that the tracker tells a client of
	dials        = 25      // of them, so that as many can dial it
	linksMost    = 50      // connections of a client
	askedAtOnce  = 2       // pieces, on each connection
	askedOrigin  = 8 << 20 // bytes, of the origin: its queue of requests
	fasterEnough = 2       // times, to take over what was asked for elsewhere
)

// client is what makes a node a peer. The origin has none of it.
type client struct {
	have     bitset  // pieces
	told     bitset  // of them, those that the neighbours know of
	fetching bitset  // pieces that it has asked for, and those under way
	offered  bitset  // pieces that the origin has shown
	near     []uint8 // of each piece: neighbours that are known to have it
	count    int     // pieces in have
	tellings int     // in told
	asking   int     // in fetching

	parts   map[int32]part // pieces of which some came on connections that ended
	sources []source       // flows to it that are open
	links   int            // connections, without the origin
	opened  int            // of its flows
	lucky   int32          // the one of them that is open by chance, or none
	choices int            // how often it has chosen to whom to send
	place   int32          // the number of the origin's flow to it, or none

	cameAt, doneAt time.Duration
	gone           bool
}

// part is what is left of a piece of which a part is here or under way.
type part struct {
	left    int64
	arrived time.Duration
}

type source struct{ from, flow int32 }

func newNode(l Line, pieces int) node {
	return node{up: l.Up, down: l.Down, sending: none, client: client{
		have: newBitset(pieces), told: newBitset(pieces), fetching: newBitset(pieces), offered: newBitset(pieces),
		near: make([]uint8, pieces), lucky: none, place: none,
	}}
}

// come lets a peer announce itself, dial, and knock at the origin's door.
func (s *sim) come(a int32) {
	n := &s.nodes[a]
	n.cameAt = s.now
	if s.Gap > 0 {
		s.present = append(s.present, a)
	}
	s.dial(a)
	s.seeder.join(s, a)
	s.at(s.now+time.Duration(s.rand.Int64N(int64(chooseEvery))), chokes, a, 0)
}

// dial connects a peer to some of those that the tracker tells it of.
func (s *sim) dial(a int32) {
	n, dialled := &s.nodes[a], 0
	for k := range min(toldOf+1, len(s.present)) { // one of them may be itself
		other := k + s.rand.IntN(len(s.present)-k)
		s.present[k], s.present[other] = s.present[other], s.present[k]
		b := s.present[k]
		m := &s.nodes[b]
		switch {
		case n.links >= linksMost || dialled >= dials:
			return
		case a == b || m.links >= linksMost || n.count == s.pieces && m.count == s.pieces:
		case slices.ContainsFunc(n.flows, func(f flow) bool { return f.to == b }):
		default:
			s.connect(a, b)
			dialled++
		}
	}
}

func (s *sim) connect(a, b int32) {
	n, m := &s.nodes[a], &s.nodes[b]
	i, j := int32(len(n.flows)), int32(len(m.flows))
	n.flows = append(n.flows, flow{to: b, back: j})
	m.flows = append(m.flows, flow{to: a, back: i})
	n.links++
	m.links++
	n.weigh(m.told, 1)
	m.weigh(n.told, 1)
	s.openNext(a)
	s.openNext(b)
}

// weigh adds change to near for what a neighbour has that comes or goes.
func (c *client) weigh(told bitset, change int) {
	for w, m := range told {
		for ; m != 0; m &= m - 1 {
			c.near[w*64+bits.TrailingZeros64(m)] += uint8(change)
		}
	}
}

// disconnect ends the connection that flow i belongs to.
func (s *sim) disconnect(a, i int32) {
	f := s.nodes[a].flows[i]
	n, m := &s.nodes[a], &s.nodes[f.to]
	s.shut(a, i)
	s.shut(f.to, f.back)
	n.flows[i].to, m.flows[f.back].to = none, none
	n.links--
	m.links--
	n.weigh(m.told, -1)
	m.weigh(n.told, -1)
}

// leave takes a peer away.
func (s *sim) leave(a int32) {
	n := &s.nodes[a]
	n.gone = true
	s.seeds--
	at := slices.Index(s.present, a)
	s.present[at] = s.present[len(s.present)-1]
	s.present = s.present[:len(s.present)-1]
	s.seeder.leave(s, a)
	for i := range n.flows {
		b := n.flows[i].to
		if b == none {
			continue
		}
		s.disconnect(a, int32(i))
		s.look(b)
		s.openNext(b)
		if s.nodes[b].links < dials {
			s.dial(b)
		}
	}
}

// gotPiece is called when all of a piece has arrived at a peer.
func (s *sim) gotPiece(a int32, piece int32) {
	n := &s.nodes[a]
	n.have.set(piece)
	n.count++
	n.fetching.clear(piece)
	n.asking--
	s.at(s.now+latency, tells, a, int(piece))
	if !s.out.has(piece) {
		s.out.set(piece)
		if s.outs++; s.outs == s.pieces {
			s.outAt = s.now
		}
	}
	if n.count < s.pieces {
		s.look(a)
		return
	}
	n.doneAt = s.now
	s.done++
	s.seeds++
	for len(n.sources) > 0 {
		from := n.sources[0]
		s.shut(from.from, from.flow)
		s.openNext(from.from)
	}
}

// tell lets the neighbours and the origin hear that a peer has a piece.
func (s *sim) tell(a int32, piece int32) {
	n := &s.nodes[a]
	n.told.set(piece)
	n.tellings++
	for i := range n.flows {
		f := &n.flows[i]
		if f.to == none {
			continue
		}
		to := &s.nodes[f.to]
		to.near[piece]++
		switch {
		case to.have.has(piece):
		case !f.open:
			if n.opened < slots {
				s.open(a, int32(i))
			}
		case len(f.asked) < askedAtOnce && !to.fetching.has(piece):
			s.ask(a, int32(i), piece) // there is nothing else, or it had asked for that
		case len(f.asked) == 0 && s.lastOnes(to):
			s.askMore(a, int32(i))
		}
	}
	s.seeder.has(s, a, piece)
	if n.tellings < s.pieces {
		return
	}
	if s.Leave {
		s.leave(a)
		return
	}
	for i, f := range n.flows { // seeds have nothing to say to each other
		if f.to != none && s.nodes[f.to].tellings == s.pieces {
			s.disconnect(a, int32(i))
		}
	}
}

// offer lets a peer hear that the origin shows it a piece.
func (s *sim) offer(a int32, piece int32) {
	n := &s.nodes[a]
	if n.gone || n.offered.has(piece) {
		return
	}
	n.offered.set(piece)
	n.near[piece]++
	if !n.have.has(piece) {
		s.askMore(origin, n.place)
	}
}

// look lets a peer ask on connections where it has asked for nothing, and end
// its interest in those that have nothing for it.
func (s *sim) look(a int32) {
	n := &s.nodes[a]
	for k := len(n.sources) - 1; k >= 0; k-- { // shut puts the last in the place of the one that it removes
		from := n.sources[k]
		f := &s.nodes[from.from].flows[from.flow]
		if len(f.asked) > 0 {
			continue
		}
		s.askMore(from.from, from.flow)
		if len(f.asked) == 0 && from.from != origin && !s.wants(a, from.from) {
			s.shut(from.from, from.flow)
			s.openNext(from.from)
		}
	}
}

// wants reports whether a peer lacks something that another has.
func (s *sim) wants(a, from int32) bool {
	have := s.nodes[a].have
	for w, m := range s.nodes[from].told {
		if m&^have[w] != 0 {
			return true
		}
	}
	return false
}

// lastOnes reports whether a peer has asked for all that it lacks.
func (s *sim) lastOnes(n *node) bool { return n.count+n.asking == s.pieces }

// askMore asks for as much in an open flow as may be asked for at once.
func (s *sim) askMore(u, i int32) {
	f := &s.nodes[u].flows[i]
	to, most := &s.nodes[f.to], askedAtOnce
	visible := s.nodes[u].told
	if u == origin {
		visible, most = to.offered, int(max(askedAtOnce, askedOrigin/s.PieceLength))
	}
	for f.open && len(f.asked) < most {
		piece := s.rarest(to, visible)
		if piece == none && len(f.asked) == 0 && s.lastOnes(to) {
			piece = s.takeOver(u, i, visible)
		}
		if piece == none {
			return
		}
		s.ask(u, i, piece)
	}
}

// rarest returns one of the rarest pieces that are visible to a peer and that
// it needs.
func (s *sim) rarest(n *node, visible bitset) int32 {
	best, least := int32(none), 1<<8
	r := s.rand.Uint32()
	from, turn := int(r>>8)%len(visible), int(r&63)
	for k := range visible {
		w := from + k
		if w >= len(visible) {
			w -= len(visible)
		}
		m := visible[w] &^ n.have[w] &^ n.fetching[w]
		for m = bits.RotateLeft64(m, -turn); m != 0; m &= m - 1 {
			piece := w*64 + (bits.TrailingZeros64(m)+turn)&63
			if held := int(n.near[piece]); held < least {
				best, least = int32(piece), held
			}
		}
	}
	return best
}

// takeOver withdraws the request that would be answered last, if a flow in
// which nothing is asked for could answer it much sooner, and returns its piece.
func (s *sim) takeOver(u, i int32, visible bitset) int32 {
	mine := s.nodes[u].flows[i].to
	share := func(u int32, more int) float64 { return s.nodes[u].up / float64(len(s.nodes[u].busy)+more) }
	var slowest source
	var longest float64
	which := none
	for _, from := range s.nodes[mine].sources {
		f := &s.nodes[from.from].flows[from.flow]
		ahead := int64(0)
		for k, piece := range f.asked {
			left := s.length(piece)
			if k == 0 {
				left = f.left
			}
			ahead += left
			here := float64(left) / share(u, 1)
			if there := float64(ahead) / share(from.from, 0); there > longest && there > fasterEnough*here && visible.has(piece) {
				slowest, longest, which = from, there, k
			}
		}
	}
	if which == none {
		return none
	}
	piece := s.nodes[slowest.from].flows[slowest.flow].asked[which]
	s.withdraw(slowest.from, slowest.flow, which)
	return piece
}
