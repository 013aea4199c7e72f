// Package sim plays how one release spreads from an origin to many peers, in
// simulated time: crowds that no single machine could run.
//
// The origin's decisions are not modelled: they are made by the policy itself,
// package offer (origin.go). Around it are lines and clients that behave like
// stock ones (peer.go, choke.go):
//
//   - A line sends one chunk of 64 KiB after the other, each to one by chance
//     of those who wait for it, and receives one after the other. So no line
//     ever carries more than it can, connections share it alike, and what one
//     cannot use is left to the others. A sender is at most two chunks ahead of
//     a receiver.
//   - A client is told of 50 others by the tracker, dials 25 of these, and has
//     50 connections at most. It asks each for two pieces at a time, the rarest
//     among its neighbours first; when all that it lacks is asked for, a faster
//     connection takes over what a slower one has not sent. It passes a piece
//     on when it has it whole, and tells so 50 ms later.
//   - It sends to 8 of those who want something: at once while there are fewer,
//     and every ten seconds to the 7 that send it the most, or, when it has
//     everything, that take the most. The eighth changes every 30 s.
//
// Left out are the webseed, TCP's slow start, losses, headers, the time that a
// handshake takes, several sources for one piece at the same time, and peers
// that the origin turns away and that knock again. The same options give the
// same result, but for what the policy itself costs.
package sim

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	chunkSize = 64 << 10              // bytes that a line sends in one go
	latency   = 50 * time.Millisecond // until a HAVE is heard and answered
	patience  = 20                    // times the limit, and ...
	leastTime = 10 * time.Minute      // ... this besides, after which a run is given up
)

// Line is what a peer can send and receive, in bytes per second.
type Line struct{ Up, Down float64 }

// Options say who downloads what over which lines.
type Options struct {
	Size        int64 // bytes; at least two pieces
	PieceLength int64
	Origin      float64 // bytes per second that the origin can send
	Connections int     // that the origin takes; peers for whom there is no place wait until one leaves
	Peers       []Line  // in the order in which they come
	Gap         time.Duration
	Leave       bool    // peers leave as soon as they have everything
	Help        float64 // see offer.Options
	Seed        uint64
}

// Result is what came of a run. Times are from the start of the first peer.
type Result struct {
	Finished   int           // peers that have everything
	Connected  int           // peers that the origin took
	Out        time.Duration // when the last piece was whole at some peer
	Last       time.Duration // when the last of those that finished did
	Median     time.Duration // of how long each took from its own start
	FromOrigin int64         // bytes that the origin sent
	FromPeers  int64         // bytes that the peers sent

	// What the policy took: processor time, and bytes of memory at the end.
	PolicyTime   time.Duration
	PolicyMemory int64
}

// Limit is the least time in which all peers can have the content, were it a
// fluid: max(S/C, S/d, N·S/(C+ΣU)), and what the last to come needs.
func (o Options) Limit() time.Duration {
	size, down, sum := float64(o.Size), math.Inf(1), o.Origin
	for _, l := range o.Peers {
		down = min(down, l.Down)
		sum += l.Up
	}
	all := max(size/o.Origin, size/down, float64(len(o.Peers))*size/sum)
	if n := len(o.Peers) - 1; o.Gap > 0 {
		all = max(all, float64(n)*o.Gap.Seconds()+size/o.Peers[n].Down)
	}
	return time.Duration(all * float64(time.Second))
}

// origin is the number of the origin among the nodes; the peers follow.
const origin = 0

// sim is one run. Times are since its beginning.
type sim struct {
	Options
	pieces  int
	now     time.Duration
	queue   queue
	rand    *rand.Rand
	nodes   []node
	seeder  seeder
	present []int32 // nodes that the tracker knows; those it still waits for too, if all come at once
	out     bitset  // pieces that some peer has or had
	outs    int     // number of pieces in out
	outAt   time.Duration
	done    int // peers that have everything, or had when they left
	seeds   int // those of them that are there

	watch func(from, to int32, bytes int64, sent, arrived time.Duration) // for tests: a chunk was sent
}

// Run plays a run until all peers are done or ctx ends, or fails because some
// do not get on. The result is valid in any case.
func Run(ctx context.Context, o Options) (Result, error) {
	s := newSim(o)
	err := s.run(ctx)
	return s.result(), err
}

func newSim(o Options) *sim {
	s := &sim{
		Options: o,
		pieces:  int((o.Size + o.PieceLength - 1) / o.PieceLength),
		rand:    rand.New(rand.NewPCG(o.Seed, 1)),
		nodes:   make([]node, len(o.Peers)+1),
	}
	s.out = newBitset(s.pieces)
	s.seeder = newSeeder(s)
	s.nodes[origin] = node{up: o.Origin, sending: none}
	for i, l := range o.Peers {
		n := int32(i + 1)
		s.nodes[n] = newNode(l, s.pieces)
		s.at(o.Gap*time.Duration(i), comes, n, 0)
		if o.Gap == 0 {
			s.present = append(s.present, n)
		}
	}
	s.at(time.Second, ticks, 0, 0)
	return s
}

// run handles events until every peer has everything.
func (s *sim) run(ctx context.Context) error {
	end := patience*s.Limit() + leastTime
	for n := 0; s.done < len(s.Peers); n++ {
		if n%(1<<16) == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e := s.queue.pop()
		if s.now = e.at; s.now > end {
			return fmt.Errorf("%d of %d peers are not done after %v of simulated time", len(s.Peers)-s.done, len(s.Peers), end.Round(time.Second))
		}
		s.handle(e)
	}
	return nil
}

func (s *sim) handle(e event) {
	switch e.kind {
	case comes:
		s.come(e.node)
	case sent:
		s.chunkSent(e.node)
	case wakes:
		s.send(e.node)
	case got:
		s.gotPiece(e.node, e.piece)
	case tells:
		s.tell(e.node, e.piece)
	case offered:
		s.offer(e.node, e.piece)
	case chokes:
		s.rechoke(e.node)
	case ticks:
		s.seeder.review(s)
		s.at(s.now+time.Second, ticks, 0, 0)
	}
}

func (s *sim) at(when time.Duration, k kind, node int32, piece int) {
	s.queue.push(event{at: when, kind: k, node: node, piece: int32(piece)})
}

// length returns the bytes of a piece.
func (s *sim) length(piece int32) int64 {
	return min(s.PieceLength, s.Size-int64(piece)*s.PieceLength)
}

func (s *sim) result() Result {
	r := Result{
		Finished: s.done, Connected: s.seeder.joined, Out: s.outAt, FromOrigin: s.nodes[origin].sent,
		PolicyTime: s.seeder.spent, PolicyMemory: s.seeder.memory(),
	}
	var took []time.Duration
	for i := range s.Peers {
		n := &s.nodes[i+1]
		r.FromPeers += n.sent
		if n.count == s.pieces {
			r.Last = max(r.Last, n.doneAt)
			took = append(took, n.doneAt-n.cameAt)
		}
	}
	if len(took) > 0 {
		slices.Sort(took)
		r.Median = (took[len(took)/2] + took[(len(took)-1)/2]) / 2
	}
	return r
}
