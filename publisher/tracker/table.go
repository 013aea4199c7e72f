package tracker

import (
	"encoding/binary"
	"hash/maphash"
	"sync/atomic"
)

// A table holds the peers of one swarm, one address family and one class in
// flat memory that the garbage collector never looks into: records of equal
// size, seeders first, in no other order.
//
//	offset        bytes   what
//	0             4 | 16  address
//	width-2       2       port
//	width         4       identity: a hash of peer_id and key
//	width+4       2       when last seen, in ticks
//	width+6       1       flags
//
// The first width bytes are what a compact peer list contains. A record is 13
// bytes for IPv4, 25 for IPv6. Tables above indexAbove records have an index
// by address (5 to 11 bytes per peer). An index by identity is added only when
// the swarm has peers of the other family too.
//
// peer_ids, which only the old list form of an answer contains, are kept beside
// the records, 20 bytes each, as long as the whole tracker has few peers (see
// idBudget). Beyond that, peers are listed without: nearly all clients ask
// for compact lists, and the rest treat the id as optional.
type table struct {
	n, seeders int32
	width      uint8 // of an endpoint: width4 or width6
	class      class
	keepIDs    bool
	data       []byte
	ids        []byte // 20 bytes per record if keepIDs
	index      *indexes
}

type indexes struct {
	byAddr index // by address without port: an address's ports are counted in passing
	// byIdent is unused until the first lookup by identity. It holds one record
	// of each identity: whoever announces one from many addresses must not make
	// the lookups of others slow.
	byIdent index
}

const (
	tailSize   = 4 + 2 + 1
	idSize     = 20
	indexAbove = 16
)

// idBudget is how many peer_ids all tables together may hold: 2.5 MB.
const idBudget = 1 << 17

// tick is a time in units of 10 s since the tracker began. Ticks are compared
// by their difference and wrap around after a week.
type tick uint16

const tickSeconds = 10

// before returns by how many ticks t is before now; negative if it is after.
func (t tick) before(now tick) int { return int(int16(now - t)) }

type flags uint8

const (
	isSeeder  flags = 1 << iota
	isPaused        // a partial seed (BEP 21)
	isCounted       // its download was counted; it cannot be again
	isTwin          // an IPv6 peer whose client is counted by its IPv4 announces
)

var hashSeed = maphash.MakeSeed()

func addrHash(addr []byte) uint32 { return uint32(maphash.Bytes(hashSeed, addr)) }

func (t *table) size() int            { return int(t.width) + tailSize }
func (t *table) record(i int) []byte  { s := t.size(); return t.data[i*s : (i+1)*s] }
func (t *table) compact(i int) []byte { s := t.size(); return t.data[i*s : i*s+int(t.width)] }
func (t *table) addr(i int) []byte    { s := t.size(); return t.data[i*s : i*s+int(t.width)-2] }
func (t *table) ident(i int) uint32 {
	return binary.LittleEndian.Uint32(t.data[i*t.size()+int(t.width):])
}
func (t *table) seen(i int) tick {
	return tick(binary.LittleEndian.Uint16(t.data[i*t.size()+int(t.width)+4:]))
}
func (t *table) flags(i int) flags       { return flags(t.data[i*t.size()+int(t.width)+6]) }
func (t *table) setFlags(i int, f flags) { t.data[i*t.size()+int(t.width)+6] = byte(f) }
func (t *table) addrHash(i int) uint32   { return addrHash(t.addr(i)) }
func (t *table) id(i int) []byte         { return t.ids[i*idSize : (i+1)*idSize] }

// find returns the position of e, or -1 and how many other ports of its
// address are there and the position of the one not seen for longest.
func (t *table) find(e *endpoint, now tick) (pos, ports, oldest int) {
	want := string(e.bytes())
	addr := want[:len(want)-2]
	oldest = -1
	check := func(i int) bool {
		c := t.compact(i)
		if string(c[:len(c)-2]) != addr {
			return false
		}
		if string(c) == want {
			return true
		}
		ports++
		if oldest < 0 || t.seen(i).before(now) > t.seen(oldest).before(now) {
			oldest = i
		}
		return false
	}
	if t.index == nil {
		for i := range int(t.n) {
			if check(i) {
				return i, 0, -1
			}
		}
		return -1, ports, oldest
	}
	x := &t.index.byAddr
	for s := x.first(addrHash(e.b[:e.width-2])); x.slots[s] != 0; s = x.next(s) {
		if i := int(x.slots[s]) - 1; check(i) {
			return i, 0, -1
		}
	}
	return -1, ports, oldest
}

// findIdent returns the position of a record with that identity, or -1.
func (t *table) findIdent(ident uint32) int {
	if t.index == nil {
		for i := range int(t.n) {
			if t.ident(i) == ident {
				return i
			}
		}
		return -1
	}
	if t.index.byIdent.slots == nil {
		t.rebuildIdent()
	}
	return t.indexedIdent(ident)
}

// indexedIdent looks an identity up in its index.
func (t *table) indexedIdent(ident uint32) int {
	x := &t.index.byIdent
	for s := x.first(ident); x.slots[s] != 0; s = x.next(s) {
		if i := int(x.slots[s]) - 1; t.ident(i) == ident {
			return i
		}
	}
	return -1
}

// indexIdent makes record i found by its identity, unless another one is.
func (t *table) indexIdent(i int) {
	if ident := t.ident(i); t.indexedIdent(ident) < 0 {
		t.index.byIdent.insert(ident, i)
	}
}

// add appends a record and returns where it is. The endpoint must not be in
// the table yet. ids is how many peer_ids are held by all tables.
func (t *table) add(e *endpoint, p *announcement, f flags, ids *atomic.Int64) int {
	i, size := int(t.n), t.size()
	t.grow(1)
	t.data = t.data[:len(t.data)+size]
	copy(t.data[i*size:], e.bytes())
	if t.keepIDs {
		if ids.Add(1) <= idBudget {
			t.ids = append(t.ids, p.id[:]...)
		} else {
			t.dropIDs(ids)
		}
	}
	t.put(i, p, f)
	if t.index == nil && i >= indexAbove {
		t.index = &indexes{}
		t.rebuildAddr()
	}
	if t.index != nil {
		t.reindex()
		t.index.byAddr.insert(t.addrHash(i), i)
		if t.index.byIdent.slots != nil {
			t.indexIdent(i)
		}
	}
	t.n++
	if f&isSeeder != 0 {
		i = t.toSeeders(i)
	}
	return i
}

// dropIDs forgets all peer_ids, the one that was just counted included.
func (t *table) dropIDs(ids *atomic.Int64) {
	ids.Add(-int64(t.n) - 1)
	t.keepIDs, t.ids = false, nil
}

// update writes what an announce says into a known record. It returns where
// the record is now: seeders stay in front of leechers.
func (t *table) update(i int, p *announcement, f flags) int {
	if t.index != nil && t.index.byIdent.slots != nil {
		if old := t.ident(i); old != p.ident {
			t.index.byIdent.remove(old, i, t.ident)
		}
		t.put(i, p, f)
		t.indexIdent(i)
	} else {
		t.put(i, p, f)
	}
	if t.keepIDs {
		copy(t.id(i), p.id[:])
	}
	switch seeder := f&isSeeder != 0; {
	case seeder && i >= int(t.seeders):
		return t.toSeeders(i)
	case !seeder && i < int(t.seeders):
		t.seeders--
		t.swap(i, int(t.seeders))
		return int(t.seeders)
	}
	return i
}

func (t *table) put(i int, p *announcement, f flags) {
	tail := t.data[i*t.size()+int(t.width):]
	binary.LittleEndian.PutUint32(tail, p.ident)
	binary.LittleEndian.PutUint16(tail[4:], uint16(p.now))
	tail[6] = byte(f)
}

func (t *table) toSeeders(i int) int {
	t.swap(i, int(t.seeders))
	t.seeders++
	return int(t.seeders) - 1
}

// remove takes record i out. The last seeder takes its place if it was a
// seeder, the last record fills the gap: only records behind i move.
func (t *table) remove(i int, ids *atomic.Int64) {
	if t.index != nil {
		t.index.byAddr.remove(t.addrHash(i), i, t.addrHash)
		if t.index.byIdent.slots != nil {
			t.index.byIdent.remove(t.ident(i), i, t.ident)
		}
	}
	hole := i
	if i < int(t.seeders) {
		t.seeders--
		hole = int(t.seeders)
		t.move(hole, i)
	}
	t.n--
	t.move(int(t.n), hole)
	t.data = t.data[:int(t.n)*t.size()]
	if t.keepIDs {
		t.ids = t.ids[:int(t.n)*idSize]
		ids.Add(-1)
	}
	t.shrink()
}

// move copies a record over one that is in no index any more.
func (t *table) move(from, to int) {
	if from == to {
		return
	}
	if t.index != nil {
		t.index.byAddr.move(t.addrHash(from), from, to)
		if t.index.byIdent.slots != nil {
			t.index.byIdent.move(t.ident(from), from, to)
		}
	}
	copy(t.record(to), t.record(from))
	if t.keepIDs {
		copy(t.id(to), t.id(from))
	}
}

func (t *table) swap(i, j int) {
	if i == j {
		return
	}
	if t.index != nil {
		t.index.byAddr.swap(t.addrHash(i), i, t.addrHash(j), j)
		if t.index.byIdent.slots != nil {
			t.index.byIdent.swap(t.ident(i), i, t.ident(j), j)
		}
	}
	var tmp [width6 + tailSize]byte
	copy(tmp[:], t.record(i))
	copy(t.record(i), t.record(j))
	copy(t.record(j), tmp[:])
	if t.keepIDs {
		var id [idSize]byte
		copy(id[:], t.id(i))
		copy(t.id(i), t.id(j))
		copy(t.id(j), id[:])
	}
}

// grow makes room for more records: twice as many in a small table, a quarter
// more in a large one, where slack is what memory goes to.
func (t *table) grow(more int) {
	size, want := t.size(), int(t.n)+more
	have := cap(t.data) / size
	if want <= have {
		return
	}
	if have < 256 {
		have = max(4, 2*have)
	} else {
		have += have / 4
	}
	t.resize(max(have, want))
}

func (t *table) resize(records int) {
	data := make([]byte, len(t.data), records*t.size())
	copy(data, t.data)
	t.data = data
}

// shrink gives memory back after most of the peers have left.
func (t *table) shrink() {
	n := int(t.n)
	if have := cap(t.data) / t.size(); have > 64 && n*3 < have {
		t.resize(n + n/4)
		t.ids = append([]byte(nil), t.ids...)
	}
	if t.index == nil {
		return
	}
	if n <= indexAbove/2 {
		t.index = nil
		return
	}
	if t.index.byAddr.sparse(n) {
		t.rebuildAddr()
	}
	if x := &t.index.byIdent; x.slots != nil && x.sparse(n) {
		t.rebuildIdent()
	}
}

// reindex makes room in the indexes for one more record.
func (t *table) reindex() {
	if t.index.byAddr.full(int(t.n)) {
		t.rebuildAddr()
	}
	if x := &t.index.byIdent; x.slots != nil && x.full(int(t.n)) {
		t.rebuildIdent()
	}
}

func (t *table) rebuildAddr() {
	t.index.byAddr.init(int(t.n))
	for i := range int(t.n) {
		t.index.byAddr.insert(t.addrHash(i), i)
	}
}

func (t *table) rebuildIdent() {
	t.index.byIdent.init(int(t.n))
	for i := range int(t.n) {
		t.indexIdent(i)
	}
}
