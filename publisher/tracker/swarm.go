package tracker

import (
	"math/rand/v2"
	"net/netip"
)

// A swarm is the peers of one info-hash: a table per address family and class,
// made when its first peer comes. Its shard's lock guards it.
type swarm struct {
	tables    []*table
	counts    tally
	completed uint32 // downloads finished, as announced
	told      uint32 // of them, those that store.active has told of
	lasting   bool   // a release of ours: completed outlives the peers
}

// tally counts clients, as opposed to addresses: one that announces over IPv4
// and IPv6 with one peer_id and key counts once (its IPv6 record is a twin).
type tally struct{ seeders, leechers, paused int32 }

func (c *tally) add(f flags, n int32) {
	switch {
	case f&isTwin != 0:
	case f&isSeeder != 0:
		c.seeders += n
	default:
		c.leechers += n
		if f&isPaused != 0 {
			c.paused += n
		}
	}
}

// announcement is what an announce says about a peer, checked.
type announcement struct {
	at     endpoint
	class  class // of at
	id     [idSize]byte
	ident  uint32 // see identity
	event  event
	seeder bool // nothing is left to download
	now    tick
}

func (s *swarm) table(width uint8, c class) *table {
	for _, t := range s.tables {
		if t.width == width && t.class == c {
			return t
		}
	}
	return nil
}

// peers is how many records there are, twins included.
func (s *swarm) peers() int {
	n := 0
	for _, t := range s.tables {
		n += int(t.n)
	}
	return n
}

// mate finds the record that the same client has in the other address family.
func (s *swarm) mate(width uint8, ident uint32) (*table, int) {
	for _, t := range s.tables {
		if t.width != width && t.n > 0 {
			if i := t.findIdent(ident); i >= 0 {
				return t, i
			}
		}
	}
	return nil, -1
}

// setFlags changes the flags that do not decide where a record stands.
func (s *swarm) setFlags(t *table, i int, f flags) {
	s.counts.add(t.flags(i), -1)
	t.setFlags(i, f)
	s.counts.add(f, 1)
}

// unpair lets the IPv6 twin of an IPv4 record that goes away count by itself.
func (s *swarm) unpair(t *table, i int) {
	if t.width != width4 {
		return
	}
	if m, j := s.mate(width4, t.ident(i)); m != nil {
		s.setFlags(m, j, m.flags(j)&^isTwin)
	}
}

// update records an announce. It reports false if the peer is new and there is
// no room for it. An address that has as many ports as it may have loses the
// one not seen for longest.
func (s *swarm) update(p *announcement, st *store) bool {
	t := s.table(p.at.width, p.class)
	pos, ports, oldest := -1, 0, -1
	if t != nil {
		pos, ports, oldest = t.find(&p.at, p.now)
	}
	if p.event == eventStopped {
		if pos >= 0 {
			s.remove(t, pos, st)
		}
		return true
	}
	known := pos >= 0
	if !known {
		if ports >= st.maxPortsPerAddress {
			s.remove(t, oldest, st)
		} else if st.peers.Load() >= int64(st.maxPeers) || s.peers() >= st.maxPeersPerSwarm {
			return false
		}
	}

	var was, f flags
	if known {
		was = t.flags(pos)
		if t.ident(pos) != p.ident {
			s.unpair(t, pos)
			was &^= isTwin
			s.setFlags(t, pos, was)
		}
		f = was & isCounted
	}
	if p.seeder {
		f |= isSeeder
	} else if p.event == eventPaused {
		f |= isPaused
	}
	mate, at := s.mate(p.at.width, p.ident)
	if mate != nil && p.at.width == width6 {
		f |= isTwin
	}
	if p.event == eventCompleted && p.seeder && was&(isSeeder|isCounted) == 0 {
		f |= isCounted
		if mate == nil || mate.flags(at)&isCounted == 0 {
			s.completed++
		}
	}
	if mate != nil {
		m := mate.flags(at) | f&isCounted
		if p.at.width == width4 {
			m |= isTwin
		}
		s.setFlags(mate, at, m)
	}

	s.counts.add(f, 1)
	if known {
		s.counts.add(was, -1)
		t.update(pos, p, f)
		return true
	}
	if t == nil {
		t = &table{width: p.at.width, class: p.class, keepIDs: true}
		s.tables = append(s.tables, t)
	}
	t.add(&p.at, p, f, &st.ids)
	st.peers.Add(1)
	return true
}

func (s *swarm) remove(t *table, i int, st *store) {
	s.unpair(t, i)
	s.counts.add(t.flags(i), -1)
	t.remove(i, &st.ids)
	st.peers.Add(-1)
}

// clear lets go of all peers.
func (s *swarm) clear(st *store) {
	for _, t := range s.tables {
		st.peers.Add(-int64(t.n))
		if t.keepIDs {
			st.ids.Add(-int64(t.n))
		}
	}
	s.tables, s.counts = nil, tally{}
}

// wish says which peers are asked for.
type wish struct {
	n            int
	asker        class
	width        uint8 // only this family; 0: both
	leechersOnly bool
	skip         []endpoint // who must not be among them: the asker, our own seeder
}

// listed is a peer in an answer that is not compact.
type listed struct {
	at netip.AddrPort
	id []byte // nil or idSize bytes
}

// choice collects the peers that were picked for an answer: in compact form,
// or as a list if list is not nil. It is reused, so that answering does not
// allocate.
type choice struct {
	compact []byte
	list    []listed
	asList  bool
}

func (c *choice) reset(asList bool) {
	c.compact, c.list, c.asList = c.compact[:0], c.list[:0], asList
}

func (c *choice) add(t *table, i int) {
	if !c.asList {
		c.compact = append(c.compact, t.compact(i)...)
		return
	}
	l := listed{at: addrPortOf(t.compact(i))}
	if t.keepIDs {
		l.id = append([]byte(nil), t.id(i)...)
	}
	c.list = append(c.list, l)
}

// pick adds up to w.n random peers to c. Its cost depends on w.n alone, not on
// the size of the swarm.
func (s *swarm) pick(w *wish, c *choice) {
	total := 0
	eligible := func(t *table) (from, n int) {
		if w.width != 0 && t.width != w.width || !w.asker.reaches(t.class) {
			return 0, 0
		}
		if w.leechersOnly {
			from = int(t.seeders)
		}
		return from, int(t.n) - from
	}
	for _, t := range s.tables {
		_, n := eligible(t)
		total += n
	}
	left := w.n
	for _, t := range s.tables {
		from, n := eligible(t)
		if n == 0 || left == 0 {
			continue
		}
		share := n
		if total > w.n {
			share = min((w.n*n+total-1)/total, n, left)
		}
		left -= t.pick(from, n, min(share, left), w.skip, c)
	}
}

// pick adds up to want of the n records from from on, each as likely as any
// other, in up to four runs of neighbours that begin at random places: records
// that are read together share cache lines, and neighbours have little in
// common, since every peer that leaves moves another one. It returns how many
// it added.
func (t *table) pick(from, n, want int, skip []endpoint, c *choice) int {
	take := min(n, want+len(skip)) // a few more, for those that are skipped
	runs := min(4, take)
	if runs == 0 {
		return 0
	}
	added, turn := 0, rand.IntN(n)
	for r := range runs {
		lo, hi := n*r/runs, n*(r+1)/runs // this run's part of the ring
		begin := rand.IntN(hi - lo)
		for j := range min(take*(r+1)/runs-take*r/runs, hi-lo) {
			i := from + (turn+lo+(begin+j)%(hi-lo))%n
			if added == want {
				return added
			}
			if !contains(skip, t.compact(i)) {
				c.add(t, i)
				added++
			}
		}
	}
	return added
}

func contains(skip []endpoint, compact []byte) bool {
	for i := range skip {
		if string(skip[i].bytes()) == string(compact) {
			return true
		}
	}
	return false
}

// expire removes peers last seen more than life ticks ago, looking at up to
// budget records from the end of table c.table down. It returns where to go
// on, and whether all was seen. What moves meanwhile may be missed until the
// next pass.
func (s *swarm) expire(c cursor, now tick, life, budget int, st *store) (cursor, bool) {
	for ; c.table < len(s.tables); c = (cursor{table: c.table + 1, pos: -1}) {
		t := s.tables[c.table]
		if c.pos < 0 || c.pos > int(t.n) {
			c.pos = int(t.n)
		}
		for c.pos > 0 {
			if budget == 0 {
				return c, false
			}
			budget--
			c.pos--
			if t.seen(c.pos).before(now) > life {
				s.remove(t, c.pos, st)
			}
		}
	}
	return c, true
}

// cursor is a place in a swarm: the records of tables[table] below pos are
// still to be seen; all of them if pos is negative.
type cursor struct{ table, pos int }
