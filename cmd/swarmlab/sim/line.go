package sim

import (
	"math"
	"slices"
	"time"
)

// none stands for no node, no flow and no piece.
const none = -1

// flow is what one node sends another.
type flow struct {
	to   int32 // none: the connection is closed
	back int32 // the number of the flow the other way among those of to
	open bool  // the receiver may ask

	asked   []int32          // pieces that were asked for and not sent whole, in order
	left    int64            // bytes of the first that were not sent
	after   time.Duration    // when the part of it that others sent has arrived
	arrived [2]time.Duration // when the last two chunks have

	sent int64 // bytes since the sender chose last to whom to send
	got  int64 // bytes the other way since then
}

// node is the origin or a peer. The lines are its own, the rest is a client's.
type node struct {
	up, down float64 // bytes per second

	flows   []flow
	busy    []int32 // flows in which something is asked for
	sending int32   // the flow that has the line now, or none
	piece   int32   // of which it sends ...
	size    int64   // ... so many bytes
	wakeAt  time.Duration
	freeAt  time.Duration // when all that is under way to it has arrived
	sent    int64         // bytes, in all
	got     int64

	client
}

func took(bytes int64, rate float64) time.Duration {
	return time.Duration(math.Ceil(float64(bytes) / rate * float64(time.Second)))
}

// send gives an idle line to the next flow whose receiver keeps up.
func (s *sim) send(u int32) {
	n := &s.nodes[u]
	if n.sending != none || n.gone {
		return
	}
	wake := time.Duration(math.MaxInt64)
	from := 0
	if len(n.busy) > 1 {
		from = s.rand.IntN(len(n.busy))
	}
	for k := range n.busy {
		i := n.busy[(from+k)%len(n.busy)]
		f := &n.flows[i]
		if f.arrived[0] > s.now {
			wake = min(wake, f.arrived[0])
			continue
		}
		n.sending, n.piece, n.size = i, f.asked[0], min(chunkSize, f.left)
		s.at(s.now+took(n.size, n.up), sent, u, 0)
		return
	}
	if len(n.busy) > 0 && (n.wakeAt <= s.now || wake < n.wakeAt) {
		n.wakeAt = wake
		s.at(wake, wakes, u, 0)
	}
}

// chunkSent lets a chunk that was sent arrive once the receiver's line has
// received what was sent to it before.
func (s *sim) chunkSent(u int32) {
	n := &s.nodes[u]
	i, piece, size := n.sending, n.piece, n.size
	n.sending = none
	f := &n.flows[i]
	if n.gone || f.to == none {
		s.send(u)
		return
	}
	d := f.to
	to := &s.nodes[d]
	arrives := max(s.now, to.freeAt) + took(size, to.down)
	to.freeAt = arrives
	f.arrived = [2]time.Duration{f.arrived[1], arrives}
	n.sent += size
	to.got += size
	f.sent += size
	if s.watch != nil {
		s.watch(u, d, size, s.now, arrives)
	}
	if u == origin {
		s.seeder.sent(s, d, piece, size)
	} else {
		to.flows[f.back].got += size
	}
	if len(f.asked) > 0 && f.asked[0] == piece { // else it was taken over meanwhile, and the chunk is wasted
		if f.left -= size; f.left <= 0 { // less: another sent some of the same bytes
			s.at(max(arrives, f.after), got, d, int(piece))
			s.unask(u, i, 0)
			s.askMore(u, i)
		}
	}
	s.send(u)
}

// ask asks for a piece in a flow, at its end.
func (s *sim) ask(u, i, piece int32) {
	n := &s.nodes[u]
	f := &n.flows[i]
	to := &s.nodes[f.to]
	to.fetching.set(piece)
	to.asking++
	f.asked = append(f.asked, piece)
	if len(f.asked) == 1 {
		s.begin(f)
		n.busy = append(n.busy, i)
		s.send(u)
	}
}

// begin prepares a flow for its first piece, of which a part may have come.
func (s *sim) begin(f *flow) {
	piece, to := f.asked[0], &s.nodes[f.to]
	f.left, f.after = s.length(piece), 0
	if p, ok := to.parts[piece]; ok {
		f.left, f.after = p.left, p.arrived
		delete(to.parts, piece)
	}
}

// unask takes a request out of a flow. The receiver still counts as fetching
// the piece.
func (s *sim) unask(u, i int32, at int) {
	n := &s.nodes[u]
	f := &n.flows[i]
	f.asked = slices.Delete(f.asked, at, at+1)
	switch {
	case len(f.asked) == 0:
		at, last := slices.Index(n.busy, i), len(n.busy)-1
		n.busy[at] = n.busy[last]
		n.busy = n.busy[:last]
	case at == 0:
		s.begin(f)
	}
}

// withdraw takes back a request that was not answered, or not whole: the
// receiver keeps the part.
func (s *sim) withdraw(u, i int32, at int) {
	f := &s.nodes[u].flows[i]
	piece, to := f.asked[at], &s.nodes[f.to]
	if at == 0 && (f.left < s.length(piece)) {
		if to.parts == nil {
			to.parts = make(map[int32]part)
		}
		to.parts[piece] = part{f.left, max(f.after, f.arrived[1])}
	}
	to.fetching.clear(piece)
	to.asking--
	s.unask(u, i, at)
}
