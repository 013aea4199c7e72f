package sim

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"dropseed/publisher/seeder/offer"
)

// seeder is the origin's policy, called as package seeder calls it: Next after
// whatever may have made room for an offer, and Review once a second.
type seeder struct {
	swarm  *offer.Swarm
	peers  []*offer.Peer // by node; nil: not connected
	waits  []int32       // nodes for which there was no place, in the order in which they knocked
	joined int           // nodes in peers, at any time
	here   int           // ... and now
	spent  time.Duration
}

// epoch is the policy's beginning of time.
var epoch = time.Unix(1_000_000_000, 0)

func newSeeder(s *sim) seeder {
	return seeder{
		swarm: offer.New(offer.Options{
			Pieces: s.pieces, PieceLength: s.PieceLength, Help: s.Help,
			Rand: rand.New(rand.NewPCG(s.Seed, 2)),
		}),
		peers: make([]*offer.Peer, len(s.nodes)),
	}
}

// join connects a peer to the origin, if there is a place.
func (d *seeder) join(s *sim, a int32) {
	if d.here >= s.Connections {
		d.waits = append(d.waits, a)
		return
	}
	d.here++
	d.joined++
	o, n := &s.nodes[origin], &s.nodes[a]
	n.place = int32(len(o.flows))
	o.flows = append(o.flows, flow{to: a, back: none})
	s.open(origin, n.place)
	d.timed(func() { d.peers[a] = d.swarm.Join(epoch.Add(s.now)) })
	for piece := range int32(s.pieces) {
		if n.told.has(piece) {
			d.has(s, a, piece)
		}
	}
	d.offer(s, a)
}

// leave ends the connection to a peer, and gives its place to the next.
func (d *seeder) leave(s *sim, a int32) {
	p, n := d.peers[a], &s.nodes[a]
	if p == nil {
		d.waits = slices.DeleteFunc(d.waits, func(b int32) bool { return a == b })
		return
	}
	d.timed(func() { d.swarm.Leave(p) })
	d.peers[a] = nil
	d.here--
	s.shut(origin, n.place)
	s.nodes[origin].flows[n.place].to = none
	if len(d.waits) > 0 {
		next := d.waits[0]
		d.waits = d.waits[1:]
		d.join(s, next)
	}
}

// has hears that a peer has a piece.
func (d *seeder) has(s *sim, a, piece int32) {
	if p := d.peers[a]; p != nil {
		d.timed(func() { d.swarm.Has(p, int(piece), epoch.Add(s.now)) })
		d.offer(s, a)
	}
}

// sent notes that some of a piece was sent to a peer.
func (d *seeder) sent(s *sim, a, piece int32, bytes int64) {
	d.timed(func() { d.swarm.Sent(d.peers[a], int(piece), bytes, epoch.Add(s.now)) })
	d.offer(s, a)
}

// review does what is due each second. The tracker knows the seeds, and the
// line carries nothing else.
func (d *seeder) review(s *sim) {
	d.timed(func() {
		d.swarm.Elsewhere(s.seeds)
		d.swarm.Review(epoch.Add(s.now), s.Origin)
	})
	for a, p := range d.peers {
		if p != nil {
			d.offer(s, int32(a))
		}
	}
}

// offer shows a peer what it may have next.
func (d *seeder) offer(s *sim, a int32) {
	d.timed(func() {
		for {
			piece, ok := d.swarm.Next(d.peers[a], epoch.Add(s.now))
			if !ok {
				return
			}
			s.at(s.now+latency, offered, a, piece)
		}
	})
}

// timed adds to what the policy takes.
func (d *seeder) timed(policy func()) {
	start := time.Now()
	policy()
	d.spent += time.Since(start)
}

// memory lets go of the policy's state and returns about how much memory that
// was.
func (d *seeder) memory() int64 {
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // the first leaves what pools hold
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	with := heap()
	d.swarm = nil
	clear(d.peers)
	return max(0, with-heap())
}
